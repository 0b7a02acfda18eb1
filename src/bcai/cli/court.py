"""A dispute's gateway as a challenger reaches it: through the SDK's transport."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcai.proof.messages import Answerer
    from bcai.sdk.transport import Transport
    from bcai.wire.disputes import AccusationMessage, DisputeMessage, DisputeView


@dataclass(frozen=True, slots=True)
class GatewayCourt:
    """One job's dispute."""

    transport: "Transport"
    job_id: str

    @property
    def path(self) -> str:
        """Where it is."""
        from bcai.sdk.transport import job_path

        return job_path(self.job_id).replace("/v1/jobs/", "/v1/audits/") + "/dispute"

    async def open(self, message: "DisputeMessage") -> "DisputeView":
        """Begin it, or go on with the one that this key has begun."""
        from bcai.wire.disputes import DisputeView

        return await self.transport.post(self.path, DisputeView, body=message)

    async def accuse(self, message: "AccusationMessage") -> "DisputeView":
        """Begin one that is not about the trace."""
        from bcai.wire.disputes import DisputeView

        path = self.path.removesuffix("/dispute") + "/accusation"
        return await self.transport.post(path, DisputeView, body=message)

    async def look(self, after: int, wait_s: float) -> "DisputeView":
        """Where it stands, once there is another question."""
        from bcai.wire.disputes import DisputeView

        return await self.transport.get(self.path, DisputeView, after=after, wait_s=wait_s)

    async def answer(self, number: int, answer: bytes) -> "DisputeView":
        """Hand in an answer."""
        from bcai.base.digest import digest_of
        from bcai.wire.disputes import AnswerMessage, DisputeView

        digest = digest_of(answer)
        await self.transport.request("PUT", f"/v1/blobs/{digest}", content=answer)
        message = AnswerMessage(round=number, answer=digest)
        return await self.transport.post(f"{self.path}/answers", DisputeView, body=message)


async def answer_with(side: "Answerer | None", question: bytes) -> bytes:
    """A side's answer to a question. Raises BcaiError where it cannot be computed now."""
    import anyio.to_thread

    from bcai.proof.answer import answer_bytes

    return await anyio.to_thread.run_sync(answer_bytes, side, question, abandon_on_cancel=True)
