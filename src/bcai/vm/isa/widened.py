"""Macros on float16 and bfloat16: computed in float32, rounded once per macro."""

from dataclasses import replace

from bcai.vm.isa.op import Call, LoweringRule
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

NARROW = (DType.float16, DType.bfloat16)


def widened(rule: LoweringRule) -> LoweringRule:
    """Wrap a lowering: narrow float operands are cast to float32, float32 results back."""

    def lowering(call: Call) -> Symbol | tuple[Symbol, ...]:
        narrow = next((each.dtype for each in call.operands if each and each.dtype in NARROW), None)
        if narrow is None:
            return rule(call)
        operands = tuple(
            each.cast(DType.float32) if each and each.dtype in NARROW else each
            for each in call.operands
        )
        result = rule(replace(call, operands=operands))
        results = result if isinstance(result, tuple) else (result,)
        return tuple(each.cast(narrow) if each.dtype is DType.float32 else each for each in results)

    return lowering
