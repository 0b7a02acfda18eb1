"""What a referee asks the two sides of a dispute, and what they answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bcai.base.merkle import TreeHead
from bcai.proof.state import TensorHash


class Side(StrEnum):
    """The two sides."""

    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True)
class AskNodes:
    """Nodes `depth` levels below a node: of the trace, or of one step's where `step` is given."""

    step: int | None
    level: int
    index: int
    depth: int


@dataclass(frozen=True, slots=True)
class AskCheckpoint:
    """A checkpoint, and the one before it."""

    index: int


@dataclass(frozen=True, slots=True)
class AskSteps:
    """State and outputs after each step of a checkpoint."""

    checkpoint: int


@dataclass(frozen=True, slots=True)
class AskStep:
    """The head and the last leaf of a step's trace."""

    step: int


@dataclass(frozen=True, slots=True)
class AskLeaf:
    """One leaf of a step's trace."""

    step: int
    index: int


@dataclass(frozen=True, slots=True)
class AskEvidence:
    """What shows that a leaf is right."""

    step: int
    index: int


Request = AskNodes | AskCheckpoint | AskSteps | AskStep | AskLeaf | AskEvidence


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry of a tree and its path."""

    data: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """Hashes, from the left."""

    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CheckpointPair:
    """A checkpoint and the one before; None before the first."""

    before: Opened | None
    own: Opened


@dataclass(frozen=True, slots=True)
class StepRoots:
    """State root and outputs root after each step."""

    states: tuple[bytes, ...]
    outputs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StepTop:
    """Head of a step's trace, and its last leaf."""

    head: TreeHead
    last: Opened


@dataclass(frozen=True, slots=True)
class TensorEvidence:
    """A tensor under a root of tensors."""

    head: TreeHead
    place: int
    tensor: TensorHash
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RowsEvidence:
    """Rows of the data, and its header, under the data's root."""

    head: TreeHead
    header: Opened
    rows: tuple[Opened, ...]


@dataclass(frozen=True, slots=True)
class OperandEvidence:
    """An instruction's operands: their contents, and the leaves that they come from."""

    contents: tuple[bytes | None, ...]
    sources: tuple[Opened | None, ...]


@dataclass(frozen=True, slots=True)
class EndEvidence:
    """What a step ends in: its output leaves, and the state before it."""

    outputs: tuple[Opened, ...]
    before: tuple[TensorHash, ...]


Evidence = TensorEvidence | RowsEvidence | OperandEvidence | EndEvidence | Opened
Reply = Nodes | CheckpointPair | StepRoots | StepTop | Evidence | None
"""None: the side has nothing to say."""


class Answerer(Protocol):
    """A side: anything that answers, on any machine and any backend."""

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        ...
