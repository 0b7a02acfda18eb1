"""Whether the gateway works."""

from fastapi import APIRouter, Response

import bcai
from bcai.cluster.gateway.rendering import json_response
from bcai.cluster.gateway.services import UseServices
from bcai.wire.jobs import Health

router = APIRouter(tags=["network"])


@router.get("/v1/health", response_model=Health)
async def get_health(services: UseServices) -> Response:
    """Answer if gateway and store work. Needs no key."""
    nodes = await services.store.nodes(online_within_s=services.settings.lease_s)
    online = sum(node.online for node in nodes)
    return json_response(Health(status="ok", version=bcai.__version__, nodes_online=online))
