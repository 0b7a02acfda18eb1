"""Macros on float16 and bfloat16: computed in float32, rounded once per macro."""

from dataclasses import replace

from bcai.vm.isa.op import Call, GradientRule, Gradients, LoweringRule
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

NARROW = (DType.float16, DType.bfloat16)


def widened(rule: LoweringRule) -> LoweringRule:
    """Wrap a lowering: narrow float operands are cast to float32, float32 results back."""

    def lowering(call: Call) -> Symbol | tuple[Symbol, ...]:
        narrow = _narrow_dtype(call)
        if narrow is None:
            return rule(call)
        result = rule(replace(call, operands=_wide(call.operands)))
        results = result if isinstance(result, tuple) else (result,)
        return tuple(each.cast(narrow) if each.dtype is DType.float32 else each for each in results)

    return lowering


def widened_gradient(rule: GradientRule) -> GradientRule:
    """Wrap the gradient rule of such a macro in the same way."""

    def gradient(call: Call) -> Gradients:
        if _narrow_dtype(call) is None:
            return rule(call)
        wide = replace(
            call,
            operands=_wide(call.operands),
            results=tuple(_wide_one(each) for each in call.results),
            d_results=_wide(call.d_results),
        )
        return tuple(
            each if each is None or operand is None else each.cast(operand.dtype)
            for each, operand in zip(rule(wide), call.operands, strict=False)
        )

    return gradient


def _narrow_dtype(call: Call) -> DType | None:
    return next((each.dtype for each in call.operands if each and each.dtype in NARROW), None)


def _wide(symbols: tuple[Symbol | None, ...]) -> tuple[Symbol | None, ...]:
    return tuple(each and _wide_one(each) for each in symbols)


def _wide_one(symbol: Symbol) -> Symbol:
    return symbol.cast(DType.float32) if symbol.dtype in NARROW else symbol
