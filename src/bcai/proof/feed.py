"""The inputs of each step, by the run's rule: nobody chooses them while the run goes on."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

import numpy as np
from blake3 import blake3

from bcai.base.errors import InputError
from bcai.proof.data import Data
from bcai.proof.run import Batches, Run
from bcai.proof.schedule import rounded, value_at
from bcai.proof.state import canonical_tensors, tensors_root
from bcai.vm.isa.ops.random import permutation
from bcai.vm.isa.philox import philox
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Port, VerifiedProgram

ORDER_STREAM = 0xFFFFFFFF
"""The stream that an epoch's order is drawn from, with the epoch as its step. The exporter counts
its streams up from 0, one for each place that draws; a program has at most 2,000,000 of those."""

SEED, STEP = "seed", "step"
"""Inputs of these names, `int64[]`, get the run's seed and the step's number, from 0."""

_KEY = TensorType(DType.int64)


class Source(StrEnum):
    """Where an input comes from."""

    CONSTANT = "constant"
    COLUMN = "column"
    SCHEDULE = "schedule"
    SEED = "seed"
    STEP = "step"


def indices(run: Run, step: int) -> Array:
    """Numbers of the rows that a step gets, `int64[batch]`; none where its inputs are constant."""
    feed = run.feed
    if not isinstance(feed, Batches):
        return _NO_ROWS
    epoch, batch = divmod(step, feed.batches)
    start = batch * feed.batch_size
    return _rows(run.seed, feed, epoch, start, start + feed.batch_size)


def indices_digest(run: Run, steps: range) -> bytes:
    """BLAKE3 of the row numbers of steps in a row: each 8 bytes, lowest first, in order."""
    hasher = blake3()
    feed, step = run.feed, steps.start
    while isinstance(feed, Batches) and step < steps.stop:
        epoch, batch = divmod(step, feed.batches)
        last = min(batch + steps.stop - step, feed.batches)
        rows = _rows(run.seed, feed, epoch, batch * feed.batch_size, last * feed.batch_size)
        hasher.update(rows.astype("<i8", copy=False).tobytes())
        step += last - batch
    return hasher.digest()


def sources(run: Run, program: VerifiedProgram) -> dict[str, Source]:
    """Where each input of a program comes from.

    Raises
    ------
    InputError
        The run is not of this program, or does not say where an input comes from, says it twice, or
        gives it another type than it has; the message names the port.
    """
    if program_root(program.program) != run.program_root:
        raise InputError(f"the run is of program {run.program_root.hex()}, not of this one")
    if program.program.isa_version != run.isa_version:
        raise InputError(
            f"isa_version: the run says {run.isa_version}, "
            f"the program {program.program.isa_version}"
        )
    ports = {port.name: port for port in program.program.inputs}
    feed = run.feed
    named = tuple(feed.columns) if isinstance(feed, Batches) else feed.names
    kind = Source.COLUMN if isinstance(feed, Batches) else Source.CONSTANT
    found: dict[str, Source] = {}
    for name, source in [
        *((name, kind) for name in named),
        *((name, Source.SCHEDULE) for name in run.schedules),
    ]:
        if name not in ports:
            raise InputError(f"the run feeds {name!r}; the program has {_listed(ports)}")
        if name in found:
            raise InputError(f"input {name!r} has a {source} and a {found[name]}")
        found[name] = source
    for name, port in ports.items():
        if name in (SEED, STEP) and port.type == _KEY:
            found.setdefault(name, Source(name))
        if name not in found:
            raise InputError(f"nothing says where input {name!r} ({port.type}) comes from")
        _check_type(run, port, found[name])
    return found


class Feeder:
    """Gives the inputs of each step.

    `values` are the rows for `Batches`, the inputs themselves for `Constant`.

    Raises
    ------
    InputError
        They are not what the run committed to, or do not fit the program.
    """

    def __init__(
        self, run: Run, program: VerifiedProgram, values: Data | Mapping[str, Array]
    ) -> None:
        self.run = run
        self.sources = sources(run, program)
        self._types = {port.name: port.type for port in program.program.inputs}
        self._fixed: dict[str, Array] = {}
        self.data: Data | None = None
        self.constants: dict[str, Array] = {}
        if isinstance(run.feed, Batches):
            if not isinstance(values, Data):
                raise InputError("the run takes batches: expected Data, found named inputs")
            self.data = _check_data(run.feed, self._types, values)
        else:
            if isinstance(values, Data):
                raise InputError("the run takes constant inputs: expected them by name, found Data")
            self.constants = _check_constants(run.feed.root, run.feed.names, values)
            self._fixed |= self.constants
        for name, source in self.sources.items():
            if source is Source.SEED:
                self._fixed[name] = np.asarray(run.seed, np.int64)
            elif source is Source.SCHEDULE and len(run.schedules[name]) == 1:
                self._fixed[name] = scheduled(run, name, 0, self._types[name].dtype)
        self._moving = {
            name: source for name, source in self.sources.items() if name not in self._fixed
        }
        self._columns = dict(run.feed.columns) if isinstance(run.feed, Batches) else {}

    def inputs(self, step: int) -> dict[str, Array]:
        """Inputs of one step, by port."""
        values = dict(self._fixed)
        rows = indices(self.run, step) if self._columns else _NO_ROWS
        for name, source in self._moving.items():
            if source is Source.COLUMN:
                assert self.data is not None
                values[name] = self.data.columns[self._columns[name]].take(rows, axis=0)
            elif source is Source.STEP:
                values[name] = np.asarray(step, np.int64)
            else:
                values[name] = scheduled(self.run, name, step, self._types[name].dtype)
        return values


def scheduled(run: Run, port: str, step: int, dtype: DType) -> Array:
    """What a port's schedule says at a step. Raises InputError."""
    try:
        return rounded(*value_at(run.schedules[port], step), dtype)
    except InputError as error:
        raise InputError(f"schedules[{port!r}] at step {step}: {error}") from error


_NO_ROWS = np.empty(0, np.int64)
_DRAWN_ROWS = 1 << 16
_LOW = np.uint64(0xFFFFFFFF)


def _rows(seed: int, feed: Batches, epoch: int, start: int, stop: int) -> Array:
    """A stretch of an epoch's order."""
    if not feed.shuffle:
        return np.arange(start, stop, dtype=np.int64)
    together = max(1, _DRAWN_ROWS // feed.rows)
    block, place = divmod(epoch, together)
    return _orders(seed, block * together, together, feed.rows)[place, start:stop]


@lru_cache(maxsize=2)
def _orders(seed: int, epoch: int, epochs: int, rows: int) -> Array:
    """Orders of the epochs from `epoch` on, as `Permutation` has them: int64[epochs, rows].

    Small data is drawn for many epochs together, which costs a quarter of one after the other. The
    places are part of what is sorted, so that any way of sorting is the stable one.
    """
    if rows > int(_LOW):
        draw = (np.asarray(each, np.int64) for each in (seed, epoch))
        return np.asarray(permutation.body(*draw, stream=ORDER_STREAM, count=rows))[None]
    shape = (epochs, -(-rows // 4))
    block, step = np.arange(shape[1]), np.arange(epoch, epoch + epochs)
    none, stream = np.zeros(shape, np.uint32), np.full(shape, ORDER_STREAM, np.uint32)
    counter = (none + block.astype(np.uint32), none, none + step.astype(np.uint32)[:, None], stream)
    drawn = np.stack(philox(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)), axis=-1)
    keys = drawn.reshape(epochs, -1)[:, :rows].astype(np.uint64) << np.uint64(32)
    keys |= np.arange(rows, dtype=np.uint64)
    keys.sort(axis=1)
    return (keys & _LOW).astype(np.int64)


def _check_type(run: Run, port: Port, source: Source) -> None:
    if source is Source.SCHEDULE:
        if port.type.shape or not port.type.dtype.is_float:
            raise InputError(
                f"input {port.name!r} has a schedule and is {port.type}, expected a float scalar"
            )
        largest = max(run.schedules[port.name], key=lambda knot: abs(knot.value))
        scheduled(run, port.name, largest.step, port.type.dtype)  # no step has a larger one
    if source is Source.COLUMN and isinstance(run.feed, Batches):
        first = port.type.shape[:1]
        if first != (run.feed.batch_size,):
            raise InputError(
                f"input {port.name!r} is {port.type}, expected batches of {run.feed.batch_size}"
            )


def _check_data(feed: Batches, types: Mapping[str, TensorType], data: Data) -> Data:
    for port, column in feed.columns.items():
        if column not in data.types:
            raise InputError(
                f"input {port!r} takes column {column!r}; the data has {_listed(data.types)}"
            )
        row = data.types[column]
        expected = types[port].with_shape(*types[port].shape[1:])
        if row != expected:
            raise InputError(f"data column {column!r}: a row is {row}, {port!r} takes {expected}")
    if data.rows != feed.rows:
        raise InputError(f"data: found {data.rows} rows, the run committed to {feed.rows}")
    if data.root != feed.data_root:
        raise InputError(
            f"data: root is {data.root.hex()}, the run committed to {feed.data_root.hex()}",
            hint="it is other data, or in another order",
        )
    return data


def _check_constants(
    root: bytes, names: Sequence[str], values: Mapping[str, Array]
) -> dict[str, Array]:
    if set(values) != set(names):
        raise InputError(f"inputs: found {_listed(values)}, the run committed to {_listed(names)}")
    canonical = canonical_tensors(values)
    found = tensors_root(canonical)
    if found != root:
        raise InputError(f"inputs: root is {found.hex()}, the run committed to {root.hex()}")
    return canonical


def _listed(names: "Mapping[str, object] | Sequence[str]") -> str:
    return ", ".join(names) or "none"
