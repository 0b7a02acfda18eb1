"""Small programs, one for each kind of kernel, in sizes that fit no vector, tile or block."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

Body = Callable[..., Mapping[str, Symbol]]


@cache
def _program(body: Body, *types: str) -> VerifiedProgram:
    """A program with inputs of these types; the body writes its outputs."""
    builder = Builder()
    ports = [builder.input(str(at), each) for at, each in enumerate(types)]
    return builder.finish(**body(*ports))


def _products(a: Symbol, b: Symbol, c: Symbol, v: Symbol) -> Mapping[str, Symbol]:
    return {
        "plain": a @ b,
        "right_turned": a @ b.transpose(0, 1).reshape(1100, 37),
        "both_turned": b.transpose(0, 1) @ a.transpose(0, 1),
        "batches": c.reshape(3, 5, 7, 4) @ c.reshape(3, 5, 7, 4).transpose(2, 3),
        "vector": a @ v,
        "row": v @ b,
    }


def _rows_times_columns(x: Symbol, w: Symbol, v: Symbol) -> Mapping[str, Symbol]:
    return {"row": x @ w.transpose(0, 1), "column": w @ v}


def _convolutions(x: Symbol, w: Symbol, g: Symbol, d: Symbol) -> Mapping[str, Symbol]:
    def plane(stride: int, padding: int, dilation: int = 1) -> dict[str, tuple[int, int]]:
        both = (padding, padding)
        return {
            "stride": (stride, stride),
            "padding_before": both,
            "padding_after": both,
            "dilation": (dilation, dilation),
        }

    return {
        "same": x.emit("Conv", w, **plane(1, 1)),
        "strided": x.emit("Conv", w, **plane(2, 0)),
        "dilated": x.emit("Conv", w, **plane(1, 2, 2)),
        "groups": x.emit("Conv", g, groups=2, **plane(1, 1)),
        "to_input": d.emit("ConvInputGrad", w, input_shape=x.shape, **plane(2, 0)),
        "to_weight": d.emit("ConvWeightGrad", x, weight_shape=w.shape, **plane(2, 0)),
    }


def _folds(x: Symbol, y: Symbol) -> Mapping[str, Symbol]:
    found = {
        f"{name}.{at}": each.emit(name, axes=axes, keepdims=False)
        for name in ("Sum", "Prod", "ReduceMax", "ReduceMin", "Mean", "Variance", "LogSumExp")
        for at, (each, axes) in enumerate(((x, (1,)), (x, (0,)), (y, (0, 2)), (x, (0, 1))))
    }
    return found | {"arg": x.emit("ArgMax", axis=1), "least": y.emit("ArgMin", axis=0)}


def _rows(x: Symbol, w: Symbol, b: Symbol) -> Mapping[str, Symbol]:
    return {
        "softmax": x.emit("Softmax", axis=1),
        "columns": x.emit("Softmax", axis=0),
        "log_softmax": x.emit("LogSoftmax", axis=1),
        "layer": x.emit("LayerNorm", w, b),
        "root": x.emit("RmsNorm", w),
        "sums": x.emit("CumSum", axis=1),
        "products": x.emit("CumProd", axis=0, reverse=True),
        "sorted": x.emit("Sort", axis=1),
        "best": x.emit("TopK", k=9, axis=1),
    }


def _indices(x: Symbol, places: Symbol, rows: Symbol, fine: Symbol) -> Mapping[str, Symbol]:
    return {
        "gather": x.emit("Gather", places, axis=0),
        "add_rows": x.emit("AddRows", places, rows),
        "elements": x.emit("GatherElements", fine, axis=0),
        "scatter": x.emit("ScatterAdd", fine, rows, axis=0),
        "index": x.emit("Index", places),
        "put": x.emit("IndexPut", rows, places, accumulate=True),
    }


def _random(seed: Symbol, step: Symbol) -> Mapping[str, Symbol]:
    return {
        "uniform": seed.emit("Uniform", step, stream=1, shape=(17, 61)),
        "normal": seed.emit("Normal", step, stream=2, shape=(1037,)),
        "whole": seed.emit("RandomInt", step, stream=3, shape=(333,), low=-5, high=12),
        "order": seed.emit("Permutation", step, stream=4, count=77),
        "coin": seed.emit("Bernoulli", step, stream=5, shape=(500,), p=0.375),
    }


def _windows(x: Symbol, d: Symbol) -> Mapping[str, Symbol]:
    window = {
        "kernel": (3, 2),
        "stride": (2, 1),
        "padding_before": (1, 0),
        "padding_after": (1, 0),
        "dilation": (1, 1),
    }
    values, places = x.builder.emit("MaxPool", (x,), window)
    return {
        "largest": values,
        "back": values.emit("MaxPoolGrad", places, input_shape=x.shape),
        "padded": x.emit("PadMode", before=(0, 0, 2, 1), after=(0, 0, 1, 2), mode="reflect"),
        "turned": d.emit("Roll", axis=1, shift=3).emit("Flip", axes=(0,)),
        "joined": x.builder.emit("Concat", (d, d.emit("Flip", axes=(1,))), {"axis": 0})[0],
    }


def _elements(x: Symbol, y: Symbol, n: Symbol) -> Mapping[str, Symbol]:
    names = ("Gelu", "Silu", "Softplus", "Relu", "Mish", "Rsqrt", "Reciprocal", "Round", "Floor")
    found = {name: x.emit(name) for name in names}
    found |= {name: x.emit(name, y) for name in ("Max", "Min", "Fmod", "Mod", "Pow")}
    found["fused"] = ((x * y + x).emit("Tanh") - y).emit("Sigmoid") / (x + 2.0)
    found["whole"] = x.cast(DType.int32) * n + n.emit("BitShiftLeft", n)
    found["half"] = (x.cast(DType.float16) * y.cast(DType.float16)).emit("Exp")
    found["brain"] = (x.cast(DType.bfloat16) / y.cast(DType.bfloat16)).emit("Log1p")
    return found


def _products_of(dtype: str) -> VerifiedProgram:
    shapes = ("13,1100", "1100,37", "15,28", "1100")
    return _program(_products, *(f"{dtype}[{each}]" for each in shapes))


PROGRAMS: Mapping[str, Callable[[], VerifiedProgram]] = MappingProxyType(
    {
        **{f"products.{each}": partial(_products_of, each) for each in ("float32", "float64")},
        **{f"products.{each}": partial(_products_of, each) for each in ("bfloat16", "int32")},
        "columns 4096 bytes apart.float32": partial(
            _program,
            _rows_times_columns,
            *("float32[1,1024]", "float32[37,1024]", "float32[1024]"),
        ),
        "columns 4096 bytes apart.float64": partial(
            _program,
            _rows_times_columns,
            *("float64[1,512]", "float64[37,512]", "float64[512]"),
        ),
        "convolutions": partial(
            _program,
            _convolutions,
            *("float32[2,6,11,13]", "float32[19,6,3,3]", "float32[10,3,3,3]"),
            "float32[2,19,5,6]",
        ),
        "folds.float32": partial(_program, _folds, "float32[3,8500]", "float32[7,5,67]"),
        "folds.float64": partial(_program, _folds, "float64[3,4200]", "float64[7,5,37]"),
        "folds.bfloat16": partial(_program, _folds, "bfloat16[3,4200]", "bfloat16[7,5,37]"),
        "rows": partial(_program, _rows, "float32[7,301]", "float32[301]", "float32[301]"),
        "indices": partial(
            _program, _indices, "float32[7,29]", "int64[41]", "float32[41,29]", "int64[41,29]"
        ),
        "random": partial(_program, _random, "int64[]", "int64[]"),
        "windows": partial(_program, _windows, "float32[2,3,9,11]", "float32[7,10]"),
        "elements": partial(_program, _elements, "float32[19,23]", "float32[23]", "int32[19,23]"),
    }
)
"""By name; each is written when it is first asked for."""
