"""The Program container: straight-line code in single-assignment form.

Values are numbered: inputs first, then parameters, then the results of each instruction in order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import TensorType


@dataclass(frozen=True, slots=True)
class Instruction:
    """Apply `op` to earlier values; its results take the next numbers.

    `operands` are value numbers, None where an optional one is absent; absent ones at the end are
    left out. `attributes` holds every attribute of the op, in the order of its schema.
    """

    op: Op
    operands: tuple[int | None, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Port:
    """A named, typed input or parameter."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Program:
    """Typed inputs and parameters, instructions in order, and which values come out by name.

    A parameter is an input that lasts from step to step: an output of the same name is its next
    value.
    """

    isa_version: int
    inputs: tuple[Port, ...]
    parameters: tuple[Port, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[tuple[str, int], ...]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def ports(self) -> tuple[Port, ...]:
        """Inputs, then parameters: the values that are there before the first instruction."""
        return self.inputs + self.parameters


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedProgram:
    """A Program that is legal, with the type of every value. Only `verify` makes one.

    `first_result[i]` is the number of instruction i's first result.
    """

    program: Program
    types: tuple[TensorType, ...]
    first_result: tuple[int, ...]
    bytes_peak: int
    """Bytes of all live values at the worst moment, when each is freed after its last use."""

    def __repr__(self) -> str:
        """Sum it up: the instructions of a model would fill the screen."""
        ports = ", ".join(f"{port.name}: {port.type}" for port in self.program.inputs)
        outputs = ", ".join(f"{name}: {type_}" for name, type_ in self.output_types.items())
        counts = f"{len(self.program.instructions)} instructions"
        if self.program.parameters:
            counts += f", {len(self.program.parameters)} parameters"
        return f"<VerifiedProgram ({ports}) -> ({outputs}), {counts}>"

    @property
    def results(self) -> list[range]:
        """Numbers of each instruction's results."""
        ends = (*self.first_result[1:], len(self.types))
        return [*map(range, self.first_result, ends)]

    @property
    def input_types(self) -> dict[str, TensorType]:
        """Type of each input, by name."""
        return {port.name: port.type for port in self.program.inputs}

    @property
    def parameter_types(self) -> dict[str, TensorType]:
        """Type of each parameter, by name."""
        return {port.name: port.type for port in self.program.parameters}

    @property
    def output_types(self) -> dict[str, TensorType]:
        """Type of each output, by name."""
        return {name: self.types[value] for name, value in self.program.outputs}
