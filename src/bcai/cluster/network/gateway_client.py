"""What the supervisor asks its own gateway."""

from typing import Any, cast

import httpx

UNFINISHED = ("RUNNING", "ASSIGNED", "QUEUED")
ANSWER_S = 10.0


class GatewayClient:
    """A few questions; a gateway that is away answers none of them."""

    def __init__(self, url: str, admin_key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {admin_key}"},
            timeout=ANSWER_S,
            trust_env=False,  # it is on this machine: no proxy leads there
        )

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def is_well(self) -> bool:
        """Whether it answers."""
        return await self._get("/v1/health") is not None

    async def nodes_online(self) -> int:
        """How many nodes are online."""
        answer = await self._get("/v1/nodes") or {"items": []}
        return sum(1 for node in answer["items"] if node["online"])

    async def has_work(self) -> bool:
        """Whether a job is unfinished; also true when we cannot know."""
        for state in UNFINISHED:
            answer = await self._get("/v1/jobs", state=state, page_size="1")
            if answer is None or answer["items"]:
                return True
        return False

    async def _get(self, path: str, **parameters: str) -> dict[str, Any] | None:
        try:
            answer = await self._client.get(path, params=parameters)
        except httpx.HTTPError:
            return None
        return cast("dict[str, Any]", answer.json()) if answer.is_success else None
