"""The node's WebSocket."""

from fastapi import APIRouter, WebSocket

from bcai.base.errors import ForbiddenError
from bcai.cluster.gateway.auth import require
from bcai.cluster.gateway.node_session import serve_node
from bcai.cluster.gateway.problems import error_response
from bcai.cluster.gateway.services import UseServices
from bcai.cluster.store.protocol import Role

router = APIRouter()


@router.websocket("/v1/nodes/connect")
async def connect_node(socket: WebSocket, services: UseServices) -> None:
    """Serve a node: take its reports, give it work."""
    try:
        caller = require(socket, Role.NODE)
    except ForbiddenError as error:
        await socket.send_denial_response(error_response(error))
        return
    await socket.accept()
    await serve_node(socket, services, caller)
