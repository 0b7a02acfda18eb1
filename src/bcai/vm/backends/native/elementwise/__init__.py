"""Element-by-element instructions as machine code: what can stand in a loop, and how it is written.

Note [What can stand in a loop]
    Everything that cannot fail. An integer division by 0, a shift by a negative count and an
    integer 0 to a negative power are errors; `supports` is false for types where they can happen.
    Instructions that depend on places take them as last operands: `Arange(place)`,
    `OneHot(index, place of the last axis)`, `Tril(x, row, column)` and `Triu(x, row, column)`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bcai.vm.backends.native.elementwise.application import Application, Emit
from bcai.vm.backends.native.elementwise.arithmetic import ARITHMETIC
from bcai.vm.backends.native.elementwise.comparison import COMPARISON, LOGIC
from bcai.vm.backends.native.elementwise.conversion import CONVERSION, PLACES
from bcai.vm.backends.native.elementwise.function import FUNCTIONS
from bcai.vm.backends.native.elementwise.lanes import (
    Lanes,
    literal_element,
    load_element,
    register_type,
    store_element,
)
from bcai.vm.backends.native.elementwise.remainder import REMAINDERS
from bcai.vm.backends.native.llvm import Value
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import FLOATS, DType

__all__ = [
    "ELEMENTWISE",
    "FUNCTIONS",
    "Lanes",
    "apply",
    "literal_element",
    "load_element",
    "register_type",
    "store_element",
    "supports",
]

ELEMENTWISE: Mapping[str, Emit] = MappingProxyType(
    {**ARITHMETIC, **REMAINDERS, **COMPARISON, **LOGIC, **CONVERSION, **PLACES, **FUNCTIONS}
)
"""Every instruction that can stand in a loop, by name."""

_TOTAL: Mapping[str, frozenset[DType]] = MappingProxyType(
    {
        "Div": FLOATS,
        "Mod": FLOATS,
        "Fmod": FLOATS,
        "Pow": FLOATS | {DType.uint8},
        "BitShiftLeft": frozenset({DType.uint8}),
        "BitShiftRight": frozenset({DType.uint8}),
    }
)
"""Element types for which an instruction cannot fail, where that is not all of them."""

_ROUNDED = frozenset(
    {"Add", "Sub", "Mul", "Div", "Sqrt", "Rsqrt", "Reciprocal", "Fma", "Mod", *FUNCTIONS}
)
"""Those whose result can have more digits than a narrow type; `Cast` and `Arange` round it too."""


def supports(op: Op, dtypes: Sequence[DType]) -> bool:
    """Whether an instruction on operands of these types can stand in a loop.

    Places need not be among `dtypes`.
    """
    if op.name not in ELEMENTWISE:
        return False
    return op.name not in _TOTAL or dtypes[0] in _TOTAL[op.name]


def apply(
    lanes: Lanes,
    op: Op,
    attributes: Mapping[str, Attribute],
    values: Sequence[Value],
    dtypes: Sequence[DType],
    dtype: DType,
) -> Value:
    """Write one instruction on registers of `lanes.count` elements; the result is rounded.

    `values` and `dtypes` are the operands, places included; `dtype` is the result's.
    """
    application = Application(lanes, attributes, tuple(values), tuple(dtypes), dtype)
    result = ELEMENTWISE[op.name](application)
    return lanes.rounded(result, dtype) if op.name in _ROUNDED else result
