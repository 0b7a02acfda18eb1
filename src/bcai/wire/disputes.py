"""What the two sides of a dispute and the gateway say to each other.

The questions and answers themselves are canonical bytes (proof/message_codec.py): a question is
short and stands here in hexadecimal digits, an answer is a blob that is uploaded before.
"""

from pydantic import BaseModel, ConfigDict, Field

from bcai.jobs.dispute import DisputeRecord, Party, Ruling


class DisputeMessage(BaseModel):
    """A challenger disputes a result: the head of the trace that it says is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=1, le=2**53, description="Checkpoints of the trace.")
    root: str = Field(pattern="^[0-9a-f]{64}$", description="Root of the tree over them.")
    part: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="Of a captured script: the leaf of the part that the trace is of.",
    )


class AccusationMessage(BaseModel):
    """A challenger says what else than the trace is not so; the referee looks for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(
        max_length=64,
        pattern=r"^[a-z]+(\.[a-z_]+)*$",
        description="What is not so, by its stable name, such as `outputs.delivered`.",
    )
    message: str = Field(default="", max_length=2000, description="The same in words.")


class AnswerMessage(BaseModel):
    """A side's answer to the present question."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    round: int = Field(ge=0, le=10_000, description="Which question it answers, from 0.")
    answer: str | None = Field(
        default=None,
        pattern="^blake3:[0-9a-f]{64}$",
        description="The blob with the answer; none if the side has nothing to say.",
    )


class DisputeView(BaseModel):
    """Where a dispute stands. Times are Unix seconds."""

    model_config = ConfigDict(frozen=True)

    id: str
    job_id: str
    node_id: str
    node_name: str
    challenger: str
    opened_at: float
    clock_s: float = Field(description="Each side's time for all of its answers together.")
    accusation: str = Field(description="What is not so, other than the trace; empty: the trace.")
    claim: str = Field(description="The same in words.")
    round: int | None = Field(description="The present question's number, from 0.")
    question: str | None = Field(description="The present question, in hexadecimal digits.")
    missing: tuple[Party, ...] = Field(description="Whose answer is awaited.")
    part: int | None = Field(default=None, description="Of a captured script: the part's leaf.")
    ruling: Ruling | None = Field(description="How it ended.")

    @classmethod
    def of(cls, record: DisputeRecord) -> "DisputeView":
        """Show a dispute."""
        latest = record.rounds[-1] if record.rounds else None
        return cls(
            id=record.id,
            job_id=record.job_id,
            node_id=record.node_id,
            node_name=record.node_name,
            challenger=record.challenger,
            opened_at=record.opened_at,
            clock_s=record.clock_s,
            accusation=record.accusation,
            claim=record.claim,
            round=len(record.rounds) - 1 if record.rounds else None,
            question=None if latest is None else latest.question,
            missing=record.missing,
            part=record.part,
            ruling=record.ruling,
        )
