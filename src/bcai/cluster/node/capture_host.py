"""Executes and records what a captured script hands over. Nothing that the script says is believed.

Note [What a captured script can do]
    A script can write any bytes to its channel. Frames are parsed strictly (`capture_frames.py`),
    a program is verified before it runs, a value is known by a number that this side has given out
    or accepted once, and every byte that is kept, or that a program will need, is counted against
    one limit before it is allocated (`capture_account.py`). The trace is written here: the script
    cannot say what came out of an instruction, only which instruction it wants next. What it gives
    as a value stands in the trace as given.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bcai.base.errors import BcaiError, FormatError, ResourceError
from bcai.bridge.sandbox.capture_frames import (
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    TEXT_MAX,
    Define,
    Fetch,
    Frame,
    Free,
    Give,
    Reply,
    Run,
    Unmapped,
    frame_length,
    parse_frame,
)
from bcai.cluster.node.capture_account import GIVEN_BYTES, LEAF_BYTES, Account, part_bytes
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.capture_replay import number_of
from bcai.proof.state import canonical_tensors
from bcai.proof.step_trace import Place
from bcai.vm.compiler.backend import Backend, Executable
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program import cbor
from bcai.vm.program.codec import decode_program
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Program, VerifiedProgram
from bcai.vm.program.verifier import verify

PROGRAMS_MAX = 20_000
_PROGRAM_FACTOR = 20
"""A program's objects take about so many times its bytes."""
_SENT_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20
"""A program that runs once on less is not compiled: its definition is faster than a compiler."""


@dataclass(slots=True)
class _Known:
    program: VerifiedProgram
    root: bytes
    runs: int = 0
    executable: Executable | None = None


class CaptureHost:
    """One script's values, programs and trace.

    Attributes
    ----------
    programs
        What was run, by root.
    given
        Values that came from the script, in the order of their leaves: a replay needs them.
    """

    def __init__(
        self, recorder: CaptureRecorder, backend: Backend, once: Backend, memory_bytes: int
    ) -> None:
        self.recorder = recorder
        self.programs: dict[bytes, Program] = {}
        self.given: dict[str, Array] = {}
        self._backend, self._once = backend, once
        self._account = Account(memory_bytes)
        self._values: dict[int, tuple[Array, Place]] = {}
        self._known: list[_Known] = []
        self._last = 0

    @property
    def bytes_peak(self) -> int:
        """The most that it ever took."""
        return self._account.bytes_peak

    def take(self, frame: Frame, payload: bytes = b"") -> Array | None:
        """Do what a frame asks for; returns the value of a `Fetch`.

        Raises
        ------
        FormatError
            It names what is not there, or does not fit.
        ResourceError
            It needs more memory than is left.
        """
        match frame:
            case Define():
                self._define(frame)
            case Run():
                self._run(frame)
            case Give():
                self._give(frame, payload)
            case Fetch():
                return self._value(frame.handle)[0]
            case Free():
                for handle in frame.handles:
                    array, _ = self._value(handle)
                    del self._values[handle]
                    self._account.free(array.nbytes)
            case Unmapped():
                if (frame.op, frame.place) not in self.recorder.unmapped:
                    self._account.note(LEAF_BYTES + len(frame.op) + len(frame.place))
                self.recorder.unmapped[frame.op, frame.place] += 1
        return None

    def room_for(self, type_: TensorType) -> int:
        """Bytes of a value that is about to be given. Raises ResourceError."""
        self._account.refuse_beyond(2 * type_.nbytes)
        return type_.nbytes

    def _define(self, frame: Define) -> None:
        if len(self._known) >= PROGRAMS_MAX:
            raise ResourceError(
                f"more than {PROGRAMS_MAX} different sequences of operations",
                hint="a loop whose shapes change at every turn is one sequence each",
            )
        self._account.note(len(frame.program) * _PROGRAM_FACTOR)
        program = decode_program(frame.program)
        verified = verify(program)
        self._known.append(_Known(verified, program_root(program)))

    def _run(self, frame: Run) -> None:
        if frame.program >= len(self._known):
            raise FormatError(f"program {frame.program}: there are {len(self._known)}")
        known = self._known[frame.program]
        program = known.program.program
        inputs, sources = self._inputs(program, frame.sources)
        if len(frame.outputs) != len(program.outputs):
            raise FormatError(
                f"found {len(frame.outputs)} outputs, the program has {len(program.outputs)}"
            )
        self._check_new(frame.outputs)
        self._account.note(part_bytes(len(sources), len(frame.outputs)))
        results = self._execute(known, inputs)
        arrays = [_own(results[name]) for name, _ in program.outputs]
        self._account.hold(sum(each.nbytes for each in arrays), len(arrays))
        self.programs.setdefault(known.root, program)
        places = self.recorder.ran(known.root, sources, arrays)
        for handle, array, place in zip(frame.outputs, arrays, places, strict=True):
            self._values[handle] = (array, place)

    def _execute(self, known: _Known, inputs: dict[str, Array]) -> dict[str, Array]:
        known.runs += 1
        peak = known.program.bytes_peak
        self._account.refuse_beyond(peak)
        if known.executable is None:
            is_small = known.runs == 1 and peak < _SMALL_BYTES
            backend = self._once if is_small else self._backend
            executable = backend.compile(known.program)
            if not is_small:
                known.executable = executable
        else:
            executable = known.executable
        return executable.run(inputs)

    def _inputs(
        self, program: Program, sources: Sequence[int | bytes]
    ) -> tuple[dict[str, Array], list[Place | bytes]]:
        if len(sources) != len(program.inputs) or program.parameters:
            raise FormatError(
                f"found {len(sources)} inputs, the program has {len(program.inputs)} and "
                f"{len(program.parameters)} parameters (expected none)"
            )
        inputs: dict[str, Array] = {}
        places: list[Place | bytes] = []
        for port, source in zip(program.inputs, sources, strict=True):
            if isinstance(source, bytes):
                inputs[port.name] = number_of(source, port.type)
                places.append(source)
                continue
            array, place = self._value(source)
            if TensorType.of(array) != port.type:
                found = TensorType.of(array)
                raise FormatError(f"value {source} is {found}, input {port.name} is {port.type}")
            inputs[port.name] = array
            places.append(place)
        return inputs, places

    def _give(self, frame: Give, payload: bytes) -> None:
        self._check_new((frame.handle,))
        array = np.frombuffer(payload, frame.type.dtype.numpy).reshape(frame.type.shape)
        canonical = canonical_tensors({"given": array})["given"]
        self._account.hold(canonical.nbytes)
        place, is_new = self.recorder.given(canonical, frame.origin)
        if is_new:
            self._account.note(GIVEN_BYTES + 2 * len(frame.origin))
            self._account.keep(canonical.nbytes)  # for a replay
            self.given[str(place.leaf)] = canonical
        self._values[frame.handle] = (canonical, place)

    def _value(self, handle: int) -> tuple[Array, Place]:
        found = self._values.get(handle)
        if found is None:
            raise FormatError(f"value {handle}: there is none, or it was freed")
        return found

    def _check_new(self, handles: Sequence[int]) -> None:
        for handle in handles:
            if handle <= self._last:
                raise FormatError(f"value {handle}: expected a number above {self._last}")
            self._last = handle


def serve(channel: socket.socket, host: CaptureHost) -> None:
    """Take frames until the script closes its end.

    Raises
    ------
    BcaiError
        A frame was refused; the script is told why, and nothing more is taken.
    """
    try:
        while (head := _read(channel, LENGTH_BYTES)) is not None:
            count = int.from_bytes(head, "little")
            if count > FRAME_BYTES_MAX:
                raise FormatError(f"a frame of {count} bytes, at most {FRAME_BYTES_MAX}")
            data = _read(channel, count)
            if data is None:
                return
            frame = parse_frame(data)
            payload: bytes | None = b""
            if isinstance(frame, Give):
                payload = _read(channel, host.room_for(frame.type))
                if payload is None:
                    return
            value = host.take(frame, payload)
            if isinstance(frame, Fetch):
                assert value is not None
                fields = cbor.encode([int(Reply.VALUE), value.nbytes])
                channel.sendall(frame_length(len(fields)) + fields)
                channel.sendall(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    except BcaiError as error:
        _say(channel, error)
        raise
    except (ConnectionError, BrokenPipeError):
        return  # the script is gone


def _own(array: Array) -> Array:
    """A contiguous array whose content nobody changes."""
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _say(channel: socket.socket, error: BcaiError) -> None:
    fields = cbor.encode([int(Reply.FAILED), str(error)[: 8 * TEXT_MAX], error.hint[:TEXT_MAX]])
    try:
        channel.sendall(frame_length(len(fields)) + fields)
    except OSError:
        return


def _read(channel: socket.socket, count: int) -> bytes | None:
    """Exactly so many bytes; None at the end."""
    found = bytearray()
    while len(found) < count:
        data = channel.recv(min(count - len(found), _SENT_BYTES))
        if not data:
            return None
        found += data
    return bytes(found)
