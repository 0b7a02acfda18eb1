"""Matrix products, in the order of Note [Order of a contraction]."""

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.order import contract
from bcai.vm.isa.rules import broadcast, same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import NUMBERS, Array, TensorType


def _matmul(a: TensorType, b: TensorType) -> Types:
    if not a.rank or not b.rank:
        raise VerifyError(f"{a} times {b}: expected at least one axis each")
    rows = a.shape[-2:-1]
    columns = b.shape[-1:] if b.rank > 1 else ()
    inner = b.shape[-2] if b.rank > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise VerifyError(f"{a} times {b}: {a.shape[-1]} columns against {inner} rows")
    batch = broadcast(a.with_shape(*a.shape[:-2]), b.with_shape(*b.shape[:-2]))
    return TensorType(same_dtype(a, b), (*batch, *rows, *columns))


@instruction(
    opcode=0x0500,
    dtypes=NUMBERS,
    name="MatMul",
    bound=Bound(ulp=1, terms_ulp=1),
    types=types_of(
        _matmul,
        accepts=(
            case("float32[2,3]", "float32[3,4]"),
            case("float32[3]", "float32[3]"),
            case("float32[2,3]", "float32[3]"),
            case("float32[3]", "float32[3,4]"),
            case("float32[5,1,2,3]", "float32[4,3,2]"),
            case("float32[2,0]", "float32[0,3]"),
            case("float32[2,1030]", "float32[1030,1]"),
        ),
        rejects=(
            case("float32[2,3]", "float32[4,3]"),
            case("float32[]", "float32[3]"),
            case("float32[2,3]", "float64[3,4]"),
            case("float32[2,2,3]", "float32[3,3,4]"),
        ),
    ),
)
def matmul(a: Array, b: Array) -> Array:
    """Product of matrices: `T[..., m, k]` and `T[..., k, n]` to `T[..., m, n]`.

    Leading axes broadcast; a vector on the left is a row, on the right a column, and its axis
    disappears. Each element is computed in the order of Note [Order of a contraction]: blocks of
    512 along k, a chain of fused multiply-adds from +0 in each. Integers wrap.

    Source: ONNX MatMul-13, NumPy `matmul`.
    """
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    result = contract(left, right)
    if b.ndim == 1:
        result = result[..., 0]
    return result if a.ndim > 1 else result[..., 0, :] if b.ndim > 1 else result[..., 0]


@matmul.gradient
def _(call: Call) -> Gradients:
    a, b, d = call[0], call[1], call.d
    left = a.reshape(1, *a.shape) if len(a.shape) == 1 else a
    right = b.reshape(*b.shape, 1) if len(b.shape) == 1 else b
    shape = list(d.shape)
    if len(b.shape) == 1:
        shape.append(1)
    if len(a.shape) == 1:
        shape.insert(len(shape) - 1, 1)
    whole = d.reshape(*shape)
    return (
        _fold(whole @ right.transpose(), left).reshape(*a.shape),
        _fold(left.transpose() @ whole, right).reshape(*b.shape),
    )


def _fold(d: Symbol, like: Symbol) -> Symbol:
    """Sum over the batch axes along which an operand was broadcast."""
    extra = len(d.shape) - len(like.shape)
    axes = [
        axis
        for axis in range(len(d.shape) - 2)
        if axis < extra or (like.shape[axis - extra] == 1 and d.shape[axis] != 1)
    ]
    return (d.sum(*axes) if axes else d).reshape(*like.shape)


OPS = (matmul,)
