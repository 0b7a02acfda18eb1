"""Records a run while it goes on: a checkpoint every `checkpoint_every` steps, and one at its end.

Checkpoint i is a leaf: canonical CBOR of [steps done, state root, digest of the rows of its steps,
digest of their outputs]. The outputs' digest is BLAKE3 of the steps' output roots, one after the
other, each `tensors_root` of the outputs that are not state, such as the loss.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead, leaf_hash, tree_head
from bcai.proof.canonical import check_hash
from bcai.proof.feed import indices_digest
from bcai.proof.run import Run
from bcai.proof.state import StateHasher
from bcai.vm.isa.types import Array
from bcai.vm.program import cbor
from bcai.vm.program.program import VerifiedProgram

WAITING_MAX, WAITING_BYTES = 128, 1 << 16
"""Steps whose outputs are hashed together, and what they may hold meanwhile."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run stands after `step` steps."""

    step: int
    state: bytes
    indices: bytes
    outputs: bytes

    @property
    def leaf(self) -> bytes:
        """Hash of its leaf."""
        return leaf_hash(cbor.encode(encode_checkpoint(self)))


@dataclass(frozen=True, slots=True)
class Trace:
    """The checkpoints of a run, in order."""

    checkpoints: tuple[Checkpoint, ...]

    @property
    def head(self) -> TreeHead:
        """Their number and their root: what a node signs."""
        return tree_head([each.leaf for each in self.checkpoints])

    @property
    def final_state(self) -> bytes:
        """Root of the last state."""
        return self.checkpoints[-1].state


class Recorder:
    """Takes the state and outputs after every step, in order, and keeps the trace.

    Arrays handed in must not change afterwards; those that an `Executable` returns never do.

    Parameters
    ----------
    fixed
        Names of parameters that no step changes: see `fixed_parameters`.
    prefix
        Checkpoints of the same run from before, to go on after the last of them.
    executor
        Hashes states beside the next steps, instead of between them. At most one waits at a time.

    Attributes
    ----------
    output_roots
        Of the steps before the newest checkpoint, each step's output root: a receipt needs them.
    """

    def __init__(
        self,
        run: Run,
        *,
        fixed: Iterable[str] = (),
        prefix: Sequence[Checkpoint] = (),
        executor: Executor | None = None,
    ) -> None:
        _check_prefix(run, prefix)
        self._run = run
        self._checkpoints = list(prefix)
        self._step = prefix[-1].step if prefix else 0
        self._states = StateHasher(tuple(fixed))
        self._outputs = StateHasher()
        self._roots: list[bytes] = []
        self._waiting: list[Mapping[str, Array]] = []
        self._together = 0
        self.output_roots: tuple[bytes, ...] = ()
        self._executor = executor
        self._pending: Future[Checkpoint] | None = None
        self._due = self._next_due()

    def record(
        self, step: int, state: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Checkpoint | None:
        """Take what a step left; `step` counts the steps done, this one included.

        Returns the newest checkpoint that is complete, if one became so.

        Raises
        ------
        InputError
            A step was left out, or the run is over.
        """
        if step != self._step + 1 or step > self._run.steps:
            raise InputError(f"step: found {step}, expected {self._step + 1} of {self._run.steps}")
        self._step = step
        # Copies: an output may be a small part of a large block.
        self._waiting.append({name: array.copy() for name, array in outputs.items()})
        if step != self._due and len(self._waiting) < self._together:
            return None
        self._hash_waiting()
        return self.checkpoint(step, state, self._roots) if step == self._due else None

    def checkpoint(
        self, step: int, state: Mapping[str, Array], output_roots: Sequence[bytes]
    ) -> Checkpoint | None:
        """Close the steps since the last checkpoint."""
        digest = blake3(b"".join(output_roots)).digest()
        self.output_roots = tuple(output_roots)
        self._roots = []
        self._step = step
        completed = self._settle()
        if self._executor is None:
            completed = self._make(step, dict(state), digest)
            self._checkpoints.append(completed)
        else:
            self._pending = self._executor.submit(self._make, step, dict(state), digest)
        self._due = self._next_due()
        return completed

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """What is complete so far; waits for what is under way."""
        self._settle()
        return tuple(self._checkpoints)

    def finish(self) -> Trace:
        """The whole trace.

        Raises
        ------
        InputError
            Steps are missing.
        """
        if self._step != self._run.steps:
            raise InputError(f"the run has {self._run.steps} steps, {self._step} were recorded")
        return Trace(self.checkpoints)

    def _hash_waiting(self) -> None:
        """Hash small outputs of many steps in a row: between steps the caches are others'."""
        if not self._together:
            nbytes = sum(array.nbytes for array in self._waiting[0].values())
            self._together = min(WAITING_MAX, max(1, WAITING_BYTES // max(1, nbytes)))
        self._roots += map(self._outputs.root, self._waiting)
        self._waiting.clear()

    def _make(self, step: int, state: Mapping[str, Array], outputs: bytes) -> Checkpoint:
        span = self._run.span((step - 1) // self._run.checkpoint_every)
        return Checkpoint(step, self._states.root(state), indices_digest(self._run, span), outputs)

    def _settle(self) -> Checkpoint | None:
        if self._pending is None:
            return None
        done, self._pending = self._pending.result(), None
        self._checkpoints.append(done)
        return done

    def _next_due(self) -> int:
        every = self._run.checkpoint_every
        return min((self._step // every + 1) * every, self._run.steps)


def fixed_parameters(program: VerifiedProgram) -> frozenset[str]:
    """Names of the parameters that have no next value."""
    outputs = dict(program.program.outputs)
    return frozenset(port.name for port in program.program.parameters if port.name not in outputs)


def encode_checkpoint(checkpoint: Checkpoint) -> list[Any]:
    """A checkpoint as a value of canonical CBOR."""
    return [checkpoint.step, checkpoint.state, checkpoint.indices, checkpoint.outputs]


def decode_checkpoint(fields: Any) -> Checkpoint:
    """Undo `encode_checkpoint`. Raises FormatError."""
    step, state, rows, outputs = fields
    if type(step) is not int:
        raise FormatError(f"checkpoint: step is {step!r}, expected a whole number")
    for name, value in (("state", state), ("indices", rows), ("outputs", outputs)):
        check_hash(f"checkpoint after {step}: {name}", value)
    return Checkpoint(step, state, rows, outputs)


def _check_prefix(run: Run, prefix: Sequence[Checkpoint]) -> None:
    for index, checkpoint in enumerate(prefix):
        if index >= run.checkpoints or checkpoint.step != run.span(index).stop:
            raise InputError(
                f"checkpoint {index} is after step {checkpoint.step}, which is none of the run's"
            )
