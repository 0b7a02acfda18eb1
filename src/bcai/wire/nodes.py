"""The conversation between a node and a gateway over one WebSocket, as JSON text frames.

The node dials out. It says Hello; the gateway answers Welcome. Then, in any order: the gateway
sends Assign, Cancel, Summon, Ack and Drop; the node sends Heartbeat, Offer and Report. Reports of
one attempt are numbered from 1. The gateway acknowledges a report once it is durable; the node
keeps and resends what is not acknowledged, so a gateway that is killed loses nothing. `lock_token`
fences every report: what a stale attempt sends is answered with Drop, and the node stops that
attempt. A Summon is answered over HTTP: see disputes.py.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome
from bcai.jobs.spec import JobSpec
from bcai.wire.quantities import Text


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[Text, Field(max_length=64)]  # of a job, or of an attempt
REPORTS_MAX = 2**31 - 1  # of one attempt: the largest number that every database holds
HELD_MAX = 10_000  # attempts: more than any machine works on at once


class Held(_Message):
    """An attempt that the node works on."""

    job_id: Name
    lock_token: Name


class Hello(_Message):
    """First words of a node. `node_id` is its own, kept across restarts."""

    type: Literal["hello"] = "hello"
    node_id: Text = Field(min_length=1, max_length=64)
    name: Text = Field(min_length=1, max_length=200)
    capabilities: Capabilities
    held: list[Held] = Field(default_factory=list[Held], max_length=HELD_MAX)
    signing_key: str = Field(default="", pattern=r"^(ed25519:[0-9a-f]{64})?$")
    """What signs its receipts; without one it can hand in none."""
    key_proof: str = Field(default="", pattern=r"^([0-9a-f]{128})?$")
    """That key's signature of the node's id: nobody brings a key that is another's."""


class Offer(_Message):
    """What the node offers from now on, in place of what its Hello said."""

    type: Literal["offer"] = "offer"
    capabilities: Capabilities


class Welcome(_Message):
    """The gateway accepts the node and says how often to call."""

    type: Literal["welcome"] = "welcome"
    heartbeat_s: float
    lease_s: float


class Heartbeat(_Message):
    """Renews the node's presence and the leases of what it holds."""

    type: Literal["heartbeat"] = "heartbeat"
    held: list[Held] = Field(max_length=HELD_MAX)


class Started(_Message):
    """The jail is up: ASSIGNED > RUNNING."""

    kind: Literal["started"] = "started"
    at: float


class Log(_Message):
    """Output of the job."""

    kind: Literal["log"] = "log"
    at: float
    stream: Literal["stdout", "stderr"]
    text: str


class Metric(_Message):
    """Numbers that the job logged. Not-a-number and infinities are the texts nan, inf, -inf."""

    kind: Literal["metric"] = "metric"
    at: float
    step: int | None
    values: dict[str, float | Literal["nan", "inf", "-inf"]]


class Progress(_Message):
    """How far the job is, from 0 to 1."""

    kind: Literal["progress"] = "progress"
    at: float
    fraction: float = Field(ge=0, le=1)


class Finished(_Message):
    """The attempt ended; always an attempt's last report."""

    kind: Literal["finished"] = "finished"
    at: float
    outcome: Outcome


ReportBody = Annotated[Started | Log | Metric | Progress | Finished, Field(discriminator="kind")]


class Report(_Message):
    """Something that happened in an attempt."""

    type: Literal["report"] = "report"
    job_id: Name
    lock_token: Name
    number: int = Field(ge=1, le=REPORTS_MAX)
    body: ReportBody


class Assign(_Message):
    """Work for the node; it answers with reports, or with Finished at once if it refuses."""

    type: Literal["assign"] = "assign"
    job_id: str
    attempt: int
    lock_token: str
    spec: JobSpec
    owner: str = ""
    """Whose job it is: jobs of two owners never come from one warm Python."""


class Cancel(_Message):
    """Stop the attempt and report Finished with CANCELLED."""

    type: Literal["cancel"] = "cancel"
    job_id: str
    lock_token: str


class Summon(_Message):
    """A result of the node's is disputed, and a question waits for its answer."""

    type: Literal["summon"] = "summon"
    job_id: str = Field(pattern=r"^\w[\w-]{0,79}$")  # a folder of the node's is called so
    dispute_id: str


class Ack(_Message):
    """All reports up to this number are durable."""

    type: Literal["ack"] = "ack"
    job_id: str
    lock_token: str
    number: int


class Drop(_Message):
    """The attempt is not this node's any more: stop it and forget its reports."""

    type: Literal["drop"] = "drop"
    job_id: str
    lock_token: str


FromNode = Annotated[Hello | Offer | Heartbeat | Report, Field(discriminator="type")]
ToNode = Annotated[Welcome | Assign | Cancel | Summon | Ack | Drop, Field(discriminator="type")]
FROM_NODE: TypeAdapter[FromNode] = TypeAdapter(FromNode)
TO_NODE: TypeAdapter[ToNode] = TypeAdapter(ToNode)
