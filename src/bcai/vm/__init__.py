"""What a program is, whether it is legal, and what it computes."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcai.vm.program.builder import Builder
    from bcai.vm.runtime.enhanced_vm import EnhancedVM
    from bcai.vm.runtime.ml_instruction import MLInstruction
    from bcai.vm.runtime.result import ExecutionResult
    from bcai.vm.runtime.tensor_id import DataType, SecurityLevel, TensorId

_HOMES = {
    "Builder": "bcai.vm.program.builder",
    "DataType": "bcai.vm.runtime.tensor_id",
    "EnhancedVM": "bcai.vm.runtime.enhanced_vm",
    "ExecutionResult": "bcai.vm.runtime.result",
    "MLInstruction": "bcai.vm.runtime.ml_instruction",
    "SecurityLevel": "bcai.vm.runtime.tensor_id",
    "TensorId": "bcai.vm.runtime.tensor_id",
}

__all__ = [
    "Builder",
    "DataType",
    "EnhancedVM",
    "ExecutionResult",
    "MLInstruction",
    "SecurityLevel",
    "TensorId",
]


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'bcai.vm' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names that are there or would be imported."""
    return sorted({*globals(), *_HOMES})
