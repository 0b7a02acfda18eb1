"""Write a list of `MLInstruction` as a Program.

Tensors are found by id while writing: each instruction reads the present values of its ids and
binds its results to theirs. An id that is read before anything gave it a value becomes an input, if
its value was given for this run, or a parameter, if the machine keeps it; a few instructions know a
first value for what is missing (`Start`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bcai.base.errors import VerifyError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import ProgramLimits, verify
from bcai.vm.runtime.form import Start
from bcai.vm.runtime.ml_instruction import MLInstruction
from bcai.vm.runtime.tensor_id import TensorId

Kept = Mapping[str, TensorType]


@dataclass(frozen=True, slots=True)
class Translation:
    """The program of some instructions: `starts` are parameters whose first values must be made."""

    program: VerifiedProgram
    starts: Mapping[str, Start]
    freed: frozenset[str]


@dataclass(slots=True)
class _Ports:
    """Tensors that are there before the first instruction, in order of first use."""

    inputs: dict[str, TensorType] = field(default_factory=dict[str, TensorType])
    parameters: dict[str, TensorType] = field(default_factory=dict[str, TensorType])
    starts: dict[str, Start] = field(default_factory=dict[str, Start])


def translate(
    instructions: Sequence[MLInstruction],
    *,
    inputs: Kept,
    kept: Kept,
    outputs: Sequence[TensorId] | None = None,
    limits: ProgramLimits,
) -> Translation:
    """Write and verify.

    Parameters
    ----------
    inputs, kept
        Types of the values given for this run, and of those that the machine keeps, by port.
    outputs
        Tensors that come out; None for every one that has a new value and was not freed. Kept
        tensors with new values always come out.

    Raises
    ------
    VerifyError
        The message names the instruction's position, its form, and what is wrong.
    """
    ports = _find_ports(instructions, inputs, kept)
    writer = _Writer(ports)
    for position, instruction in enumerate(instructions):
        try:
            instruction.form.write(writer, instruction.fields)
        except VerifyError as error:
            raise VerifyError(f"{_place(position, instruction)}: {error}") from error
        writer.position += 1
    program = writer.builder.build(_outputs(writer, ports, outputs))
    freed = frozenset(writer.freed)
    return Translation(verify(program, limits), ports.starts, freed)


def _find_ports(instructions: Sequence[MLInstruction], inputs: Kept, kept: Kept) -> _Ports:
    """Find what is read before it is written."""
    ports = _Ports()
    written: set[str] = set()

    def type_of(value: object) -> TensorType | None:
        if not isinstance(value, TensorId) or value.port in written:
            return None
        return inputs.get(value.port) or kept.get(value.port)

    for position, instruction in enumerate(instructions):
        form, fields = instruction.form, instruction.fields
        starts = form.starts(fields, type_of)
        for port in dict.fromkeys([*(each.port for each in form.reads(fields)), *starts]):
            if port in written or port in ports.inputs or port in ports.parameters:
                continue
            if port in inputs:
                ports.inputs[port] = inputs[port]
            elif port in kept:
                ports.parameters[port] = kept[port]
            elif port in starts:
                ports.starts[port] = starts[port]
                ports.parameters[port] = starts[port].type
            else:
                raise VerifyError(f"{_place(position, instruction)}: {_absent(port)}")
        written.update(each.port for each in form.writes(fields))
        written.update(port for port in starts if not port[1:].isdigit())
    return ports


def _place(position: int, instruction: MLInstruction) -> str:
    return f"instruction {position} ({instruction.form.name})"


def _absent(port: str) -> str:
    number = port[1:]
    return (
        f"TensorId({number}) has no value; make it with an instruction before this one, "
        f"with vm.set_tensor({number}, array), or with inputs={{{number}: array}}"
    )


def _outputs(
    writer: "_Writer", ports: _Ports, wanted: Sequence[TensorId] | None
) -> dict[str, Symbol]:
    """What comes out: what was asked for, and whatever the machine keeps."""
    chosen = {port: writer.values[port] for port in writer.written}
    if wanted is None:
        return chosen
    state = {port: each for port, each in chosen.items() if port in ports.parameters}
    for identity in wanted:
        if identity.port not in writer.values:
            raise VerifyError(f"outputs: {_absent(identity.port)}")
    return {each.port: writer.values[each.port] for each in wanted} | state


class _Writer:
    """Writes into a builder, with the present value of each tensor."""

    def __init__(self, ports: _Ports) -> None:
        self.builder = Builder()
        self.values: dict[str, Symbol] = {}
        self.written: dict[str, None] = {}
        self.freed: dict[str, int] = {}
        self.position = 0
        for port, type_ in ports.inputs.items():
            self.values[port] = self.builder.input(port, type_)
        for port, type_ in ports.parameters.items():
            self.values[port] = self.builder.parameter(port, type_)

    def operand(self, value: object) -> Symbol | float | None:
        """Symbol of a tensor's present value; numbers and None as they are."""
        if isinstance(value, TensorId):
            return self.port(value.port)
        assert value is None or isinstance(value, float)
        return value

    def tensor(self, value: object) -> Symbol:
        """Symbol of a tensor's present value; a number as a float32 scalar."""
        found = self.operand(value)
        if isinstance(found, Symbol):
            return found
        attributes = {"shape": (), "value": found, "dtype": DType.float32}
        return self.emit("Full", (), attributes)[0]

    def emit(
        self, name: str, operands: Sequence[Symbol | float | None], attributes: Mapping[str, object]
    ) -> tuple[Symbol, ...]:
        """Append an instruction of the set."""
        return self.builder.emit(name, operands, attributes)

    def constant(self, array: Array) -> Symbol:
        """A constant of the program."""
        return self.builder.constant(array)

    def port(self, name: str) -> Symbol:
        """Present value of a tensor by its port's name."""
        if name in self.freed:
            raise VerifyError(f"TensorId({name[1:]}) was freed by instruction {self.freed[name]}")
        return self.values[name]

    def bind(self, target: object, symbol: Symbol) -> None:
        """Give a tensor a new value."""
        if target is None:
            return
        name = target.port if isinstance(target, TensorId) else str(target)
        self.values[name] = symbol
        self.written[name] = None
        self.freed.pop(name, None)

    def free(self, target: object) -> None:
        """Forget a tensor."""
        assert isinstance(target, TensorId)
        self.port(target.port)
        self.freed[target.port] = self.position
        self.written.pop(target.port, None)
        del self.values[target.port]
