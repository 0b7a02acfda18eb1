"""What a challenger and the gateway say to each other."""

from pydantic import BaseModel, ConfigDict, Field

from bcai.wire.jobs import JobView


class AuditList(BaseModel):
    """Jobs whose result waits for its audit, oldest first."""

    items: list[JobView]


class VerdictMessage(BaseModel):
    """An audit has ended, and the node told no lie: one is said in a dispute."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: str = Field(default="", max_length=2000, description="What was done, in words.")
    agrees: bool = Field(
        default=True,
        description="Whether the result is as it should be. Only a captured script can differ "
        "without anyone's lie; its result is DISPUTED then, and nobody is blamed.",
    )
    agreement: str | None = Field(
        default=None,
        max_length=8192,
        pattern=r"^[A-Za-z0-9+/]+={0,2}$",
        description="What the challenger signs where it agrees, in base64.",
    )
