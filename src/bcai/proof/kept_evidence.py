r"""What a node keeps to defend its trace with: where each step ended, and the leaves of one step.

`checkpoint-<n>.steps` is `b"bcai-steps\x00"`, then canonical CBOR of [version, [state root, ...],
[outputs root, ...]]; `step-<n>.leaves` is `b"bcai-leaves\x00"`, then [version, [leaf, ...]]. Only
hashes are kept: the operands of a disputed instruction come from the other side.
"""

from pathlib import Path
from typing import Any

from bcai.base.errors import FormatError, NotFoundError
from bcai.base.merkle import Tree
from bcai.proof.canonical import check_hash, decode_canonical
from bcai.proof.messages import (
    AskCheckpoint,
    AskEvidence,
    AskLeaf,
    AskNodes,
    AskStep,
    AskSteps,
    CheckpointPair,
    Nodes,
    Opened,
    Reply,
    Request,
    StepRoots,
    StepTop,
)
from bcai.proof.recorder import Trace, encode_checkpoint
from bcai.proof.step_trace import StepTrace, decode_leaf, encode_leaf
from bcai.vm.program import cbor

_STEPS, _LEAVES = b"bcai-steps\x00", b"bcai-leaves\x00"
VERSION = 1
BYTES_MAX = 1 << 32


class TraceSide:
    """Answers about a trace of checkpoints; what is below them is another's to say."""

    def __init__(self, trace: Trace) -> None:
        self._checkpoints = trace.checkpoints
        self._trace = Tree([each.leaf for each in trace.checkpoints])

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        match request:
            case AskNodes():
                tree = self._trace if request.step is None else self.step(request.step).tree
                if not request.depth <= request.level < len(tree.levels):
                    raise NotFoundError(f"there is no level {request.level} to go down from")
                level = tree.levels[request.level - request.depth]
                start = request.index << request.depth
                return Nodes(tuple(level[start : start + (1 << request.depth)]))
            case AskCheckpoint():
                index = request.index
                return CheckpointPair(self._open(index - 1) if index else None, self._open(index))
            case AskSteps():
                return self.step_roots(request.checkpoint)
            case AskStep():
                trace = self.step(request.step)
                return StepTop(trace.tree.head, Opened(*trace.open(len(trace.leaves) - 1)))
            case AskLeaf():
                return Opened(*self.step(request.step).open(request.index))
            case AskEvidence():
                return self.evidence(request.step, request.index)

    def step_roots(self, checkpoint: int) -> StepRoots:
        """Where each step of a checkpoint ends. Raises NotFoundError."""
        raise NotFoundError(f"nothing is kept of the steps of checkpoint {checkpoint}")

    def step(self, step: int) -> StepTrace:
        """The trace of a step. Raises NotFoundError."""
        raise NotFoundError(f"nothing is kept of step {step}")

    def evidence(self, step: int, index: int) -> Reply:
        """What shows that a leaf is right; None for nothing."""
        del step, index
        return None

    def _open(self, index: int) -> Opened:
        data = cbor.encode(encode_checkpoint(self._checkpoints[index]))
        return Opened(data, self._trace.path(index))


class KeptSide(TraceSide):
    """Answers from a folder that a node kept."""

    def __init__(self, trace: Trace, folder: Path) -> None:
        super().__init__(trace)
        self._folder = folder
        self._steps: dict[int, StepTrace] = {}

    def step_roots(self, checkpoint: int) -> StepRoots:
        """From `checkpoint-<n>.steps`."""
        return read_step_roots(_steps_file(self._folder, checkpoint))

    def step(self, step: int) -> StepTrace:
        """From `step-<n>.leaves`."""
        if step not in self._steps:
            self._steps[step] = read_leaves(_leaves_file(self._folder, step))
        return self._steps[step]


def keep_evidence(folder: Path, side: TraceSide, checkpoint: int, step: int) -> None:
    """Write what a side says of one checkpoint's steps and of one step's leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    roots = encode_step_roots(side.step_roots(checkpoint))
    _steps_file(folder, checkpoint).write_bytes(roots)
    _leaves_file(folder, step).write_bytes(encode_leaves(side.step(step)))


def encode_step_roots(roots: StepRoots) -> bytes:
    """Canonical bytes of where each step ends."""
    return _STEPS + cbor.encode([VERSION, roots.states, roots.outputs])


def encode_leaves(trace: StepTrace) -> bytes:
    """Canonical bytes of a step's leaves."""
    return _LEAVES + cbor.encode([VERSION, [encode_leaf(each) for each in trace.leaves]])


def read_step_roots(file: Path) -> StepRoots:
    """Read a file of them. Raises NotFoundError and FormatError."""

    def build(fields: Any) -> StepRoots:
        states, outputs = _versioned(fields)
        for each in (*states, *outputs):
            check_hash("root", each)
        return StepRoots(tuple(states), tuple(outputs))

    return decode_canonical(_read(file), _STEPS, "steps file", BYTES_MAX, build, encode_step_roots)


def read_leaves(file: Path) -> StepTrace:
    """Read a file of leaves. Raises NotFoundError and FormatError."""

    def build(fields: Any) -> StepTrace:
        (leaves,) = _versioned(fields)
        return StepTrace(tuple(decode_leaf(each) for each in leaves))

    return decode_canonical(_read(file), _LEAVES, "leaves file", BYTES_MAX, build, encode_leaves)


def _versioned(fields: Any) -> list[Any]:
    version, *rest = fields
    if version != VERSION:
        raise FormatError(f"version {version!r} is not known; expected {VERSION}")
    return rest


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no {str(file)!r}") from None


def _steps_file(folder: Path, checkpoint: int) -> Path:
    return folder / f"checkpoint-{checkpoint}.steps"


def _leaves_file(folder: Path, step: int) -> Path:
    return folder / f"step-{step}.leaves"
