"""The host functions of one run: arguments, tensors in and out, text; see `abi`."""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import numpy as np

from bcai.base.units import format_size
from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.sandbox.text import TextDecoder, one_line
from bcai.bridge.wasm.abi import NAME_BYTES_MAX, OUTPUTS_MAX, RANK_MAX
from bcai.bridge.wasm.ending import EndedError, ModuleLimits
from bcai.vm.isa.types import Array, DType, TensorType

Stream = Literal["stdout", "stderr"]
OnText = Callable[[Stream, str], None]
OnOutput = Callable[[str, Array], None]

_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}
_SIZE_MAX = 2**32 - 1
_NOT_FOUND = 2**32 - 1  # -1, as a module's numbers have no sign here

T = TypeVar("T")


class LinearMemory(Protocol):
    """A module's memory. Offsets have been checked against `size` before."""

    @property
    def size(self) -> int:
        """Bytes at this moment; it only grows."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Copy bytes out."""
        ...

    def write(self, start: int, data: bytes) -> None:
        """Copy bytes in."""
        ...


class Host:
    """What a module can reach.

    A wrong index, pointer or length ends the run: in WebAssembly there is no other way to say so.

    Parameters
    ----------
    charge
        Takes the fuel of this many bytes, or ends the run; called before anything is copied.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        arguments: Sequence[str],
        limits: ModuleLimits,
        *,
        on_text: OnText,
        on_output: OnOutput,
        charge: Callable[[int], None],
    ) -> None:
        self._names = sorted(inputs)
        self._inputs = [inputs[name] for name in self._names]
        self._types = [_checked(name, inputs[name]) for name in self._names]
        self._arguments = [argument.encode() for argument in arguments]
        self._limits = limits
        self._on_text, self._on_output, self._charge = on_text, on_output, charge
        self._decoders: dict[Stream, TextDecoder] = {
            stream: TextDecoder() for stream in _STREAMS.values()
        }
        self._given: set[str] = set()
        self._output_bytes = 0
        self.log_bytes = 0

    def log(self, memory: LinearMemory, stream: int, pointer: int, length: int) -> None:
        """Write text to stdout (1) or stderr (2)."""
        if stream not in _STREAMS:
            raise _fault("log", f"stream {stream}; there are 1 (stdout) and 2 (stderr)")
        data = self._read(memory, "log", "text", pointer, length)
        self.log_bytes += len(data)
        if self.log_bytes > self._limits.log_bytes:
            limit = format_size(self._limits.log_bytes)
            hint = "print less, or ask for more with limits.log"
            raise EndedError(Cause.LOG_BYTES, f"printed more than its limit of {limit}", hint)
        self._tell(_STREAMS[stream], self._decoders[_STREAMS[stream]].feed(data))

    def finish(self) -> None:
        """Write what is left of text that ends within a character."""
        for stream, decoder in self._decoders.items():
            self._tell(stream, decoder.finish())

    def argument_count(self, memory: LinearMemory) -> int:
        """Return how many arguments there are."""
        del memory
        self._charge(0)
        return len(self._arguments)

    def argument_size(self, memory: LinearMemory, index: int) -> int:
        """Return the bytes of an argument."""
        del memory
        self._charge(0)
        return len(_item("argument_size", self._arguments, index))

    def argument_read(self, memory: LinearMemory, index: int, pointer: int) -> None:
        """Copy an argument's text into memory."""
        text = _item("argument_read", self._arguments, index)
        self._write(memory, "argument_read", pointer, len(text), lambda: text)

    def input_count(self, memory: LinearMemory) -> int:
        """Return how many inputs there are; they stand in the order of their names."""
        del memory
        self._charge(0)
        return len(self._inputs)

    def input_find(self, memory: LinearMemory, pointer: int, length: int) -> int:
        """Return the index of the input of this name, or -1."""
        name = self._read(memory, "input_find", "name", pointer, length)
        encoded = [each.encode() for each in self._names]
        return encoded.index(name) if name in encoded else -1

    def input_dtype(self, memory: LinearMemory, index: int) -> int:
        """Return the element type of an input."""
        del memory
        self._charge(0)
        return int(self._input("input_dtype", self._types, index).dtype)

    def input_rank(self, memory: LinearMemory, index: int) -> int:
        """Return the number of axes of an input."""
        del memory
        self._charge(0)
        return self._input("input_rank", self._types, index).rank

    def input_shape(self, memory: LinearMemory, index: int, pointer: int) -> None:
        """Copy the sizes of an input's axes into memory."""
        shape = self._input("input_shape", self._types, index).shape
        packed = struct.pack(f"<{len(shape)}q", *shape)
        self._write(memory, "input_shape", pointer, len(packed), lambda: packed)

    def input_size(self, memory: LinearMemory, index: int) -> int:
        """Return the bytes of an input's elements."""
        del memory
        self._charge(0)
        return self._input("input_size", self._types, index).nbytes

    def input_read(self, memory: LinearMemory, index: int, pointer: int) -> None:
        """Copy an input's elements into memory."""
        array = self._input("input_read", self._inputs, index)
        self._write(memory, "input_read", pointer, array.nbytes, array.tobytes)

    def output(
        self,
        memory: LinearMemory,
        name_pointer: int,
        name_length: int,
        dtype: int,
        rank: int,
        shape_pointer: int,
        data_pointer: int,
    ) -> None:
        """Give out a tensor under a name that was not given before."""
        name = self._name(memory, name_pointer, name_length)
        if dtype not in set(DType):
            raise _invalid(name, f"element type {dtype} does not exist")
        if rank > RANK_MAX:
            raise _invalid(name, f"it has {rank} axes, at most {RANK_MAX} are allowed")
        packed = self._read(memory, "output", "shape", shape_pointer, 8 * rank)
        shape: tuple[int, ...] = struct.unpack(f"<{rank}q", packed)
        if any(size < 0 for size in shape):
            raise _invalid(name, f"an axis has a negative size: {list(shape)}")
        type_ = TensorType(DType(dtype), shape)
        self._output_bytes += type_.nbytes
        if self._output_bytes > self._limits.output_bytes:
            limit = format_size(self._limits.output_bytes)
            message = f"output {name!r} does not fit the limit of {limit} for all outputs"
            raise EndedError(Cause.OUTPUT_BYTES, message, "ask for more with limits.output")
        data = self._read(memory, "output", "data", data_pointer, type_.nbytes)
        if type_.dtype is DType.bool and data.strip(b"\0\1"):
            raise _invalid(name, "a bool is a byte 0 or 1, and there are others")
        self._on_output(name, np.frombuffer(data, type_.dtype.numpy).reshape(shape))

    def _name(self, memory: LinearMemory, pointer: int, length: int) -> str:
        if not 0 < length <= NAME_BYTES_MAX:
            raise EndedError(
                Cause.OUTPUT_INVALID,
                f"bcai.output: a name of {length} bytes; expected 1 to {NAME_BYTES_MAX}",
            )
        encoded = self._read(memory, "output", "name", pointer, length)
        try:
            name = encoded.decode()
        except UnicodeDecodeError as error:
            place = f"byte {encoded[error.start]:#04x} at {error.start} of the name"
            raise EndedError(
                Cause.OUTPUT_INVALID, f"bcai.output: {place} is not UTF-8 text"
            ) from None
        if not name.isprintable():
            raise _invalid(one_line(name), "its name holds characters that do not print")
        if name in self._given:
            raise _invalid(name, "it was given before", "give each output once")
        if len(self._given) == OUTPUTS_MAX:
            raise _invalid(name, f"there are {OUTPUTS_MAX} outputs already")
        self._given.add(name)
        return name

    def _read(
        self, memory: LinearMemory, function: str, what: str, pointer: int, length: int
    ) -> bytes:
        _check_range(memory, function, what, pointer, length)
        self._charge(length)
        return memory.read(pointer, length)

    def _write(
        self,
        memory: LinearMemory,
        function: str,
        pointer: int,
        length: int,
        content: Callable[[], bytes],
    ) -> None:
        _check_range(memory, function, "place", pointer, length)
        self._charge(length)
        memory.write(pointer, content())

    def _input(self, function: str, items: Sequence[T], index: int) -> T:
        """One of `items`, of which there is one for each input."""
        if index == _NOT_FOUND:
            there = ", ".join(map(repr, self._names)) or "none"
            message = f"bcai.{function}: index -1, as input_find gives for a name that is not there"
            hint = "give the job its inputs, by name: --input NAME=FILE.npy"
            raise EndedError(Cause.TRAP, f"{message}; the job's inputs: {there}", hint)
        return _item(function, items, index)

    def _tell(self, stream: Stream, text: str) -> None:
        if text:
            self._on_text(stream, text)


def _checked(name: str, array: Array) -> TensorType:
    """Type of an input that a module can be given."""
    type_ = TensorType.of(array)
    if type_.nbytes > _SIZE_MAX or type_.rank > RANK_MAX:
        limit = f"{format_size(_SIZE_MAX)} and {RANK_MAX} axes"
        raise EndedError(Cause.EXCEPTION, f"input {name!r}: {type_} is over the limit of {limit}")
    return type_


def _item(function: str, items: Sequence[T], index: int) -> T:
    if index >= len(items):
        raise _fault(function, f"index {index}; there are {len(items)}")
    return items[index]


def _check_range(memory: LinearMemory, function: str, what: str, pointer: int, length: int) -> None:
    if pointer + length > memory.size:
        where = f"{length} bytes at {pointer:#x}, but memory ends at {memory.size:#x}"
        raise _fault(function, f"the {what} is {where}")


def _fault(function: str, message: str) -> EndedError:
    return EndedError(Cause.TRAP, f"bcai.{function}: {message}")


def _invalid(name: str, message: str, hint: str = "") -> EndedError:
    return EndedError(Cause.OUTPUT_INVALID, f"output {name!r}: {message}", hint)
