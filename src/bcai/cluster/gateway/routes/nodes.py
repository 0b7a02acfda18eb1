"""The nodes of the network."""

import dataclasses

from fastapi import APIRouter, Response

from bcai.cluster.gateway.auth import AnyCaller
from bcai.cluster.gateway.openapi import problems
from bcai.cluster.gateway.rendering import json_response
from bcai.cluster.gateway.services import UseServices
from bcai.cluster.store.protocol import Role
from bcai.wire.jobs import NodeList

router = APIRouter(tags=["network"])


@router.get("/v1/nodes", response_model=NodeList, responses=problems(401, 403))
async def list_nodes(services: UseServices, caller: AnyCaller) -> Response:
    """List the nodes and what they offer. Only an admin sees which jobs they run."""
    nodes = await services.store.nodes(online_within_s=services.settings.lease_s)
    if caller.role is not Role.ADMIN:
        nodes = [dataclasses.replace(node, running=()) for node in nodes]
    return json_response(NodeList(items=nodes))
