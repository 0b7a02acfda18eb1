"""Floats by their bits: what an exact function must be tried on."""

import numpy as np

from bcai.vm.isa.types import Array, DType

_FORMATS = {DType.float32: (np.uint32, 8, 23), DType.float64: (np.uint64, 11, 52)}
"""Unsigned integer of the same width, bits of the exponent, bits of the fraction."""


def special_floats(dtype: DType) -> Array:
    """Zeros, ones, infinities, not-a-number, and both ends of the subnormal and normal ranges."""
    unsigned, exponent_bits, fraction_bits = _FORMATS[dtype]
    infinity = ((1 << exponent_bits) - 1) << fraction_bits
    one = (infinity >> 1) & infinity
    least_normal = 1 << fraction_bits
    sizes = (0, 1, least_normal - 1, least_normal, one - 1, one, one + 1, infinity - 1, infinity)
    sign = 1 << (exponent_bits + fraction_bits)
    bits = [*sizes, *(each | sign for each in sizes), infinity | 1, infinity | sign | 3 << 5]
    return np.array(bits, unsigned).view(dtype.numpy)


def floats_of_all_kinds(dtype: DType, count: int, seed: int) -> Array:
    """Random floats: any bits, moderate sizes, short fractions, subnormals and special values."""
    unsigned, exponent_bits, fraction_bits = _FORMATS[dtype]
    random = np.random.default_rng(seed)
    top = (1 << (1 + exponent_bits + fraction_bits)) - 1
    bits = random.integers(0, top, count, np.uint64, endpoint=True)
    fraction = np.uint64((1 << fraction_bits) - 1)
    sign = np.uint64(top ^ (top >> 1))
    bias = (1 << (exponent_bits - 1)) - 1
    exponents = random.integers(bias - 20, bias + 20, count, np.uint64) << np.uint64(fraction_bits)
    moderate = bits & (sign | fraction) | exponents
    short = moderate & ~(fraction >> np.uint64(8))
    subnormal = bits & (sign | fraction)
    kind = random.integers(0, 16, count)
    chosen = np.select(
        [kind < 3, kind < 9, kind < 12, kind < 14], [bits, moderate, short, subnormal]
    )
    floats = chosen.astype(unsigned).view(dtype.numpy)
    special = special_floats(dtype)
    drawn = special[random.integers(0, special.size, count)]
    return np.where(kind < 14, floats, drawn)


def fused_operands(dtype: DType, count: int, seed: int) -> tuple[Array, Array, Array]:
    """Operands a, b, c of a * b + c; in a quarter of them c all but cancels the product."""
    a, b, c = (floats_of_all_kinds(dtype, count, 3 * seed + each) for each in range(3))
    with np.errstate(all="ignore"):
        product = a * b
        near = np.nextafter(-product, c)
    kind = np.random.default_rng(seed).integers(0, 8, count)
    return a, b, np.select([kind == 0, kind == 1], [-product, near], c)
