"""What a run of the virtual machine gives back."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bcai.base.units import format_size
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ExecutionResult(Generic[Key]):
    """Outputs and how they came about; `print(result)` tells it in lines.

    Attributes
    ----------
    outputs
        Arrays, by `TensorId` after `execute_program`, by name after `run`.
    program
        What ran: the instructions as a verified program.
    program_root
        32 bytes that identify the program.
    backend, backend_reason
        What ran it, and why that one.
    bytes_peak
        Bytes of all live values at the worst moment, by the program's own plan.
    wall_s
        Duration of the run, or None if the machine was given no clock.
    initialised
        Tensors that had no value and got a first one, each with how it was made.
    """

    outputs: Mapping[Key, Array]
    program: VerifiedProgram
    program_root: bytes
    backend: str
    backend_reason: str
    job_id: str | None = None
    node_id: str | None = None
    wall_s: float | None = None
    initialised: Mapping[Key, str] = field(default_factory=dict["Key", str])

    @property
    def instruction_count(self) -> int:
        """How many instructions of the set ran."""
        return len(self.program.program.instructions)

    @property
    def bytes_peak(self) -> int:
        """Bytes of all live values at the worst moment."""
        return self.program.bytes_peak

    @property
    def types(self) -> dict[Key, TensorType]:
        """Type of each output."""
        return {key: TensorType.of(array) for key, array in self.outputs.items()}

    def __str__(self) -> str:
        place = "".join(
            f" {word} {name}" for word, name in (("of", self.job_id), ("on", self.node_id)) if name
        )
        duration = "" if self.wall_s is None else f", {self.wall_s:.3f} s"
        lines = [
            f"{self.instruction_count} instructions{place}: backend {self.backend} "
            f"({self.backend_reason}), peak {format_size(self.bytes_peak)}{duration}",
            f"  program {self.program_root.hex()}",
        ]
        lines += [f"  {key!r} initialised: {how}" for key, how in self.initialised.items()]
        lines += [f"  {key!r}: {type_}" for key, type_ in self.types.items()]
        return "\n".join(lines)
