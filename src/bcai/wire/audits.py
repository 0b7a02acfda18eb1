"""What a challenger and the gateway say to each other."""

from pydantic import BaseModel, ConfigDict, Field

from bcai.jobs.settlement import Lie
from bcai.wire.jobs import JobView


class AuditList(BaseModel):
    """Jobs whose result waits for its audit, oldest first."""

    items: list[JobView]


class VerdictMessage(BaseModel):
    """How an audit ended: without a `code` the result is as it should be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str | None = Field(
        default=None,
        max_length=64,
        pattern=r"^[a-z]+(\.[a-z_]+)*$",
        description="Stable name of what the node told that is not so, such as `replay.differs`.",
    )
    message: str = Field(default="", max_length=2000, description="The same in words.")
    checkpoint: int | None = Field(default=None, ge=0, le=2**53, description="The first wrong one.")
    steps: tuple[int, int] | None = Field(
        default=None, description="Its first step, and the one after its last."
    )

    @property
    def lie(self) -> Lie | None:
        """What it accuses the node of."""
        if self.code is None:
            return None
        return Lie(self.code, self.message, self.checkpoint, self.steps)

    @classmethod
    def of(cls, lie: Lie | None, remark: str = "") -> "VerdictMessage":
        """Say what an audit found."""
        if lie is None:
            return cls(message=remark)
        return cls(
            code=lie.code, message=lie.message[:2000], checkpoint=lie.checkpoint, steps=lie.steps
        )
