"""Sums and contractions in the one order that decides their bits (NumPy definition).

Note [Order of a sum]
    Chunks of 4096 elements. In a chunk 32 lanes: lane l adds elements l, l+32, ... from +0 in
    ascending order; then lanes are folded +16, +8, +4, +2, +1. The chunks' sums are summed by the
    same rule. Absent elements are +0. It suits two 512-bit registers, or one warp.

Note [Order of a contraction]
    K is cut in blocks of 512. A block is a chain of fused multiply-adds from +0 in ascending k; the
    blocks' results are added in ascending order. Neither width, threads nor tiling can change it.

float16 and bfloat16 are widened to float32 first and rounded once at the end.
"""

import numpy as np

from bcai.vm.isa.arithmetic import fma
from bcai.vm.isa.types import Array, DType

CHUNK = 4096
LANES = 32
BLOCK = 512


def widen(x: Array) -> Array:
    """float16 and bfloat16 as float32; everything else as it is."""
    return x.astype(np.float32) if DType.of(x.dtype) in _NARROW else x


_NARROW = (DType.float16, DType.bfloat16)


def sum_last(x: Array) -> Array:
    """Sum over the last axis in the one order: `T[..., n]` to `T[...]`; integers wrap."""
    return fold_last(x, np.add, 0)


def fold_last(x: Array, operation: np.ufunc, identity: int) -> Array:
    """Fold the last axis in the order of Note [Order of a sum] with `np.add` or `np.multiply`."""
    with np.errstate(all="ignore"):
        wide = widen(x)
        while True:
            wide = _fold_chunks(wide, operation, identity)
            if wide.shape[-1] == 1:
                return wide[..., 0].astype(x.dtype)


def _fold_chunks(x: Array, operation: np.ufunc, identity: int) -> Array:
    n = x.shape[-1]
    chunks = max(1, -(-n // CHUNK))
    rows = -(-min(max(n, 1), CHUNK) // LANES)
    padded = np.full((*x.shape[:-1], chunks * rows * LANES), identity, x.dtype)
    padded[..., :n] = x
    lanes = padded.reshape(*x.shape[:-1], chunks, rows, LANES)
    total = np.full((*x.shape[:-1], chunks, LANES), identity, x.dtype)
    for row in range(rows):
        total = operation(total, lanes[..., row, :])
    width = LANES
    while width > 1:
        width //= 2
        total = operation(total[..., :width], total[..., width : 2 * width])
    return total[..., 0]


def contract(a: Array, b: Array) -> Array:
    """`T[..., m, k]` times `T[..., k, n]` to `T[..., m, n]` in the one order; batches broadcast."""
    dtype, (a, b) = a.dtype, (widen(a), widen(b))
    k = a.shape[-1]
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    with np.errstate(all="ignore"):
        total = np.zeros(shape, a.dtype)
        for start in range(0, k, BLOCK):
            part = np.zeros(shape, a.dtype)
            for at in range(start, min(start + BLOCK, k)):
                part = multiply_add(a[..., :, at, None], b[..., None, at, :], part)
            total = part if start == 0 else total + part
    return total.astype(dtype)


def multiply_add(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c: fused for floats, wrapping for integers."""
    return fma(a, b, c) if a.dtype.kind == "f" else a * b + c
