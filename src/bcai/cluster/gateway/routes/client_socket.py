"""The client's WebSocket, at `/v1/ws` and at the root."""

from fastapi import APIRouter, WebSocket

from bcai.base.errors import ForbiddenError
from bcai.cluster.gateway.auth import require
from bcai.cluster.gateway.client_session import ClientSession
from bcai.cluster.gateway.problems import error_response
from bcai.cluster.gateway.services import UseServices
from bcai.cluster.store.protocol import Role

router = APIRouter()


@router.websocket("/v1/ws")
@router.websocket("/")
async def connect_client(socket: WebSocket, services: UseServices) -> None:
    """Serve a client: submit, follow, cancel."""
    try:
        caller = require(socket, Role.CLIENT)
    except ForbiddenError as error:
        await socket.send_denial_response(error_response(error))
        return
    await socket.accept()
    await ClientSession(socket, services, caller).run()
