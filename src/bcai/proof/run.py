r"""What is committed before work starts: everything that decides the result.

A *Run* is one Program, executed `steps` times. Its parameters are the state: an output of the same
name is a parameter's value in the next step, and one without such an output keeps its value. Its
inputs follow from the run by rule. A plain program job is a run of one step.

    b"bcai-run\x00" then canonical CBOR of
    [version, isa version, program root, steps, first state root, seed, feed, schedules,
     checkpoint every]

with a feed as [0, root, [port, ...]] (`Constant`) or [1, data root, rows, batch size, shuffle,
[[port, column], ...]] (`Batches`), and a schedule as [port, [[step, value], ...]]; ports ascend by
the bytes of their names. Decoding encodes again and refuses bytes that differ.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.proof.canonical import check_hash, check_range, check_text, decode_canonical
from bcai.proof.schedule import Knot
from bcai.vm.program import cbor

MAGIC = b"bcai-run\x00"
VERSION = 1
STEPS_MAX = 1 << 31
"""A step is one word of the random numbers' counter."""
BYTES_MAX = 1 << 28
CHECKPOINT_EVERY = 10
_SEED_MIN, _SEED_MAX = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Constant:
    """The same inputs in every step: their root as `tensors_root` gives it, and their ports."""

    root: bytes
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batches:
    """Rows of a data set, `batch_size` of them in each step; `columns` says which port gets which.

    Only whole batches are used: of each epoch's order, the rows that do not fill one are dropped.
    With `shuffle` every epoch has its own order, else it is that of the data.
    """

    data_root: bytes
    rows: int
    batch_size: int
    shuffle: bool
    columns: Mapping[str, str]

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return self.rows // self.batch_size


Feed = Constant | Batches


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as it is promised. See the module for its parts.

    Raises
    ------
    InputError
        A field is out of range; the message names it.
    """

    program_root: bytes
    isa_version: int
    steps: int
    first_state: bytes
    seed: int
    feed: Feed
    schedules: Mapping[str, tuple[Knot, ...]] = field(default_factory=dict[str, tuple[Knot, ...]])
    checkpoint_every: int = CHECKPOINT_EVERY

    def __post_init__(self) -> None:
        """Refuse what no run could be."""
        check_range("isa_version", self.isa_version, 1, 1 << 16)
        check_range("steps", self.steps, 1, STEPS_MAX)
        check_range("seed", self.seed, _SEED_MIN, _SEED_MAX)
        check_range("checkpoint_every", self.checkpoint_every, 1, STEPS_MAX)
        check_hash("program_root", self.program_root)
        check_hash("first_state", self.first_state)
        _check_feed(self.feed)
        for port, knots in self.schedules.items():
            _check_knots(port, knots)

    @property
    def digest(self) -> bytes:
        """32 bytes that identify the run."""
        return blake3(encode_run(self)).digest()

    @property
    def checkpoints(self) -> int:
        """How many checkpoints its trace has."""
        return -(-self.steps // self.checkpoint_every)

    def span(self, checkpoint: int) -> range:
        """The steps that a checkpoint is over; the last may be over fewer."""
        start = checkpoint * self.checkpoint_every
        return range(start, min(start + self.checkpoint_every, self.steps))


def encode_run(run: Run) -> bytes:
    """Canonical bytes of a run."""
    schedules = [
        [port, [[knot.step, knot.value] for knot in knots]]
        for port, knots in sorted(run.schedules.items(), key=_name_bytes)
    ]
    return MAGIC + cbor.encode(
        [
            VERSION,
            run.isa_version,
            run.program_root,
            run.steps,
            run.first_state,
            run.seed,
            _encode_feed(run.feed),
            schedules,
            run.checkpoint_every,
        ]
    )


def decode_run(data: bytes) -> Run:
    """Read canonical bytes.

    Raises
    ------
    FormatError
        They are not the canonical encoding of a run; the message says where.
    """
    return decode_canonical(data, MAGIC, "run", BYTES_MAX, _build, encode_run)


def _build(fields: Any) -> Run:
    version, isa, program, steps, first, seed, feed, schedules, every = fields
    if version != VERSION:
        raise FormatError(f"version {version!r} is not known; expected {VERSION}")
    knots = {port: tuple(Knot(*knot) for knot in given) for port, given in schedules}
    return Run(program, isa, steps, first, seed, _decode_feed(feed), knots, every)


def _encode_feed(feed: Feed) -> list[Any]:
    if isinstance(feed, Constant):
        return [0, feed.root, sorted(feed.names, key=str.encode)]
    pairs = [list(pair) for pair in sorted(feed.columns.items(), key=_name_bytes)]
    return [1, feed.data_root, feed.rows, feed.batch_size, feed.shuffle, pairs]


def _decode_feed(fields: Any) -> Feed:
    kind, *rest = fields
    if kind == 0:
        root, names = rest
        return Constant(root, tuple(names))
    if kind == 1:
        data_root, rows, batch_size, shuffle, pairs = rest
        return Batches(data_root, rows, batch_size, shuffle, dict(pairs))
    raise FormatError(f"feed: found kind {kind!r}, expected 0 or 1")


def _check_feed(feed: Feed) -> None:
    if isinstance(feed, Constant):
        check_hash("feed.root", feed.root)
        if len(set(feed.names)) != len(feed.names):
            raise InputError(f"feed.names: a port stands twice in {feed.names!r}")
        for name in feed.names:
            check_text("feed.names", name)
        return
    check_hash("feed.data_root", feed.data_root)
    check_range("feed.rows", feed.rows, 1, 1 << 40)
    check_range("feed.batch_size", feed.batch_size, 1, feed.rows)
    if type(feed.shuffle) is not bool:
        raise InputError(f"feed.shuffle: found {feed.shuffle!r}, expected True or False")
    for port, column in feed.columns.items():
        check_text("feed.columns", port)
        check_text("feed.columns", column)


def _check_knots(port: str, knots: tuple[Knot, ...]) -> None:
    check_text("schedules", port)
    if not knots:
        raise InputError(f"schedules[{port!r}]: found no knot, expected at least one")
    for knot in knots:
        check_range(f"schedules[{port!r}]: step", knot.step, 0, STEPS_MAX)
        if type(knot.value) is not float or not math.isfinite(knot.value):
            raise InputError(
                f"schedules[{port!r}]: value at step {knot.step} is {knot.value!r}, "
                "expected a finite float"
            )
    for one, two in pairwise(knots):
        if two.step <= one.step:
            raise InputError(
                f"schedules[{port!r}]: step {two.step} follows {one.step}, expected a later one"
            )


def _name_bytes(pair: tuple[str, object]) -> bytes:
    return pair[0].encode()
