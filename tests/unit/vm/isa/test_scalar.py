"""Scalar functions: error in units in the last place, special values, and the bits themselves."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcai.vm.isa import scalar
from bcai.vm.isa.arithmetic import Exact
from bcai.vm.isa.types import Array, DType

Function = Callable[..., Any]
GOLDEN = Path(__file__).parent / "golden" / "scalar.txt"
F32, F64 = Exact(DType.float32), Exact(DType.float64)
BOTH = [pytest.param(F32, id="float32"), pytest.param(F64, id="float64")]
INF, NAN = math.inf, math.nan


def sigmoid64(x: Array) -> Array:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


def erfc64(x: Array) -> Array:
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def ndtr64(x: Array) -> Array:
    return erfc64(-x * math.sqrt(0.5)) / 2


UNARY: dict[str, tuple[Function, float, float, float]] = {
    "exp": (np.exp, -104, 89, 1.1),
    "expm1": (np.expm1, -20, 89, 1.2),
    "log": (np.log, 0, 4, 1.0),
    "log1p": (np.log1p, -1, 4, 0.6),
    "sin": (np.sin, -300, 300, 0.9),
    "cos": (np.cos, -300, 300, 0.9),
    "tan": (np.tan, -300, 300, 1.0),
    "asin": (np.arcsin, -1, 1, 0.8),
    "acos": (np.arccos, -1, 1, 0.8),
    "atan": (np.arctan, -5, 5, 0.8),
    "sinh": (np.sinh, -90, 90, 0.8),
    "cosh": (np.cosh, -90, 90, 0.8),
    "tanh": (np.tanh, -10, 10, 1.5),
    "asinh": (np.arcsinh, -5, 5, 0.6),
    "acosh": (np.arccosh, 1, 5, 0.6),
    "atanh": (np.arctanh, -1, 1, 0.6),
    "sigmoid": (sigmoid64, -104, 20, 0.9),
    "erf": (np.vectorize(math.erf, otypes=[np.float64]), -4, 4, 1.1),
    "erfc": (erfc64, -4, 10.2, 1.3),
    "ndtr": (ndtr64, -38.6, 9, 4.0),
}
"""Name: the function in float64, the range where it is interesting, and its bound in ulp.

The bounds are a little above what 10^7 random and 3 * 10^8 consecutive floats showed.
"""


def test_every_function_is_here() -> None:
    assert {*UNARY, "pow"} == set(scalar.__all__)


def every_exponent(count: int, kind: type[np.floating[Any]]) -> Array:
    """Random floats with every bit pattern as likely, subnormals included, both signs."""
    random = np.random.default_rng(1)
    bits = np.int32 if kind is np.float32 else np.int64
    limits = np.iinfo(bits)
    x = random.integers(limits.min, limits.max, count, dtype=bits).view(kind)
    return x[np.isfinite(x)]


def error_float32(found: Array, exact: Array) -> float:
    """Largest error in units in the last place of float32; where one overflows both do."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
        finite = np.isfinite(rounded) & np.isfinite(found)
        at_the_end = np.abs(exact) > float(np.finfo(np.float32).max) * (1 - 2.0**-23)
        assert (finite | ~np.isfinite(exact) | at_the_end | np.isinf(rounded)).all()
        _, exponent = np.frexp(np.where(finite, exact, 1.0))
        unit = np.ldexp(1.0, np.maximum(exponent - 24, -149))
        return float((np.abs(found.astype(np.float64) - exact) / unit)[finite].max(initial=0))


@pytest.mark.parametrize("name", UNARY)
def test_error_in_float32(name: str) -> None:
    reference, low, high, bound = UNARY[name]
    random = np.random.default_rng(0)
    ranges = ((low, high), (-1.3, 1.3), (0.5, 1.6))
    parts = [random.uniform(*each, 60_000).astype(np.float32) for each in ranges]
    x = np.concatenate([*parts, every_exponent(60_000, np.float32)])
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
    assert error_float32(getattr(scalar, name)(F32, x), exact) <= bound


def test_error_of_pow_in_float32() -> None:
    random = np.random.default_rng(0)
    n = 60_000
    pairs = (
        (random.uniform(0, 100, n), random.uniform(-20, 20, n)),
        (random.uniform(0.5, 2, n), random.uniform(-140, 140, n)),
        (random.uniform(0.99, 1.01, n), random.uniform(-9000, 9000, n)),
        (random.uniform(-10, 10, n), np.rint(random.uniform(-30, 30, n))),
        (2.0 ** random.uniform(-149, -120, n), random.uniform(-1.1, 1.1, n)),
        (every_exponent(n, np.float32)[:50_000], every_exponent(n, np.float32)[-50_000:]),
    )
    for a, b in pairs:
        x, y = a.astype(np.float32), b.astype(np.float32)
        with np.errstate(all="ignore"):
            exact = np.power(x.astype(np.float64), y.astype(np.float64))
        assert error_float32(scalar.pow(F32, x, y), exact) <= 0.9


@pytest.mark.parametrize("name", [*UNARY, "pow"])
def test_error_in_float64(name: str) -> None:
    mp = pytest.importorskip("mpmath", reason="the reference in more digits than float64 has")

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + mp.exp(-x))

    others = {"sigmoid": sigmoid, "pow": mp.power, "ndtr": mp.ncdf}
    reference: Function = others.get(name) or getattr(mp, name)
    random = np.random.default_rng(0)
    if name == "pow":
        arguments = [
            np.concatenate([random.uniform(0, 50, 300), random.uniform(0.9, 1.1, 300)]),
            np.concatenate([random.uniform(-99, 99, 300), random.uniform(-5e3, 5e3, 300)]),
        ]
    else:
        low, high = UNARY[name][1], UNARY[name][2]
        domain = (-1, 1) if name in ("asin", "acos", "atanh") else (low, high)
        if name == "acosh":
            domain = (1, 3)
        small = 2.0 ** random.uniform(-1070, -1, 100)
        parts = [random.uniform(*domain, 300), random.uniform(0.5, 1.0, 200), small]
        arguments = [np.concatenate(parts)]
        if name in ("sin", "cos", "tan"):
            arguments = [np.concatenate([*parts, 2.0 ** random.uniform(20, 1023, 150)])]
    with mp.workprec(1300):
        found = getattr(scalar, name)(F64, *arguments)
        for *given, result in zip(*arguments, found, strict=True):
            exact = reference(*(mp.mpf(float(each)) for each in given))
            if isinstance(exact, mp.mpc):
                assert np.isnan(result)
                continue
            exponent = (
                -1074 if exact == 0 else max(int(mp.floor(mp.log(abs(exact), 2))) - 52, -1074)
            )
            error = abs(mp.mpf(float(result)) - exact) / mp.mpf(2) ** exponent
            assert error <= (4 if name == "ndtr" else 1.5), (given, result)


SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(-INF, 0.0), (INF, INF), (0.0, 1.0), (-0.0, 1.0), (1e30, INF), (-1e30, 0.0)],
    "expm1": [(-INF, -1.0), (INF, INF), (0.0, 0.0), (-0.0, -0.0)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(-1.0, -INF), (-2.0, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, NAN)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.1, NAN), (-INF, NAN)],
    "acos": [(1.0, 0.0), (-1.1, NAN), (INF, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (50.0, 1.0)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "acosh": [(1.0, 0.0), (0.5, NAN), (-2.0, NAN), (INF, INF), (-INF, NAN)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (INF, NAN)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (-800.0, 0.0)],
    "erfc": [(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0)],
    "ndtr": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (-38.9, 0.0), (1e38, 1.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
}


@pytest.mark.parametrize("exact", BOTH)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str, exact: Exact) -> None:
    given = np.asarray([x for x, _ in [*SPECIAL[name], (NAN, NAN)]], exact.dtype.numpy)
    expected = np.asarray([y for _, y in [*SPECIAL[name], (NAN, NAN)]], exact.dtype.numpy)
    found = getattr(scalar, name)(exact, given)
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("exact", BOTH)
def test_pow_is_that_of_c(exact: Exact) -> None:
    kind = exact.dtype.numpy
    some = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, 1e30, -1e30, INF, -INF, NAN]
    whole = 2.0 ** (24 if kind == np.float32 else 53)
    x, y = np.meshgrid(
        np.asarray(some, kind), np.asarray([*some, whole - 1, -whole, whole / 2 + 1], kind)
    )
    found = scalar.pow(exact, x, y)
    for a, b, result in zip(x.ravel(), y.ravel(), found.ravel(), strict=True):
        expected = c_pow(float(a), float(b))
        assert np.isnan(result) == math.isnan(expected), (a, b, result)
        if not math.isnan(expected):
            with np.errstate(over="ignore"):
                near = kind.type(expected)
            assert result == near or abs(result - near) <= np.spacing(abs(near)), (a, b, result)
            assert math.copysign(1, result) == math.copysign(1, expected), (a, b, result)


def c_pow(x: float, y: float) -> float:
    """C's pow: Python's, which raises where C returns a special value."""
    try:
        return math.pow(x, y)
    except OverflowError:
        odd = y % 2 == 1
        return -INF if x < 0 and odd else INF
    except ValueError:
        if x == 0:
            return math.copysign(INF, x) if y % 2 == 1 else INF
        return NAN


@pytest.mark.parametrize("exact", BOTH)
@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh"])
def test_subnormals_are_kept(name: str, exact: Exact) -> None:
    kind = exact.dtype.numpy
    least = np.finfo(kind).smallest_subnormal
    x = np.asarray([least, -least, 5 * least, np.finfo(kind).tiny - least], kind)
    assert getattr(scalar, name)(exact, x).tobytes() == x.tobytes()


def test_exponentials_reach_into_the_subnormals() -> None:
    assert scalar.exp(F32, np.float32(-103.2)) == np.float32(2.0**-149)
    assert scalar.exp(F32, np.float32(-104.1)) == 0
    assert scalar.exp(F64, np.float64(-745.1)) == 5e-324
    assert scalar.pow(F32, np.float32(2), np.float32(-149)) == np.float32(2.0**-149)
    assert scalar.sigmoid(F32, np.float32(-103.2)) == np.float32(2.0**-149)
    assert scalar.ndtr(F32, np.float32(-14.15)) == np.float32(2.0**-149)
    assert scalar.ndtr(F64, np.float64(-38.46)) == 5e-324


@pytest.mark.parametrize(
    ("exact", "x", "sine"),
    [
        # The floats of each format that lie closest to a multiple of pi/2.
        (F32, 16367173 * 2.0**72, 1.0),
        (F64, 6381956970095103 * 2.0**797, 1.0),
        (F64, 1e22, -0.8522008497671888),
    ],
)
def test_angles_are_reduced_exactly(exact: Exact, x: float, sine: float) -> None:
    angle = np.asarray(x, exact.dtype.numpy)
    assert abs(float(scalar.sin(exact, angle))) == abs(sine)
    cosine = float(scalar.cos(exact, angle))
    tangent = float(scalar.tan(exact, angle))
    if abs(sine) == 1.0:
        assert 0 < abs(cosine) < 2.0**-28
        assert tangent * cosine == pytest.approx(float(scalar.sin(exact, angle)), rel=1e-6)


SAMPLES = 4000


@pytest.mark.parametrize("exact", BOTH)
@pytest.mark.parametrize("name", [*UNARY, "pow"])
def test_scalars_vectors_and_strides_have_the_same_bits(name: str, exact: Exact) -> None:
    kind = exact.dtype.numpy.type
    x = np.concatenate([every_exponent(60, kind), np.linspace(-3, 3, 61).astype(kind)])
    arguments = (x, x[::-1]) if name == "pow" else (x,)
    function: Function = getattr(scalar, name)
    whole = function(exact, *arguments)
    strided = function(exact, *(each.repeat(3)[::3] for each in arguments))
    single = [function(exact, *(each[i] for each in arguments)) for i in range(len(x))]
    assert same(strided, whole)
    assert same(np.asarray(single), whole)


def same(a: Array, b: Array) -> bool:
    """Same bits, one not-a-number being as good as another."""
    return digest(a) == digest(b)


def digest(result: Array) -> str:
    """Hash of the bits, not-a-number made one."""
    plain = np.where(np.isnan(result), np.asarray(NAN, result.dtype), result)
    return hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()[:16]


def golden() -> str:
    """One line per function and format: the bits of its results on fixed operands."""
    rows: list[str] = []
    for name in [*UNARY, "pow"]:
        for exact in (F32, F64):
            kind = exact.dtype.numpy.type
            x = np.concatenate(
                [every_exponent(SAMPLES, kind), np.linspace(-9, 9, 2001).astype(kind)]
            )
            arguments = (x, x[::-1]) if name == "pow" else (x,)
            rows.append(
                f"{name} {exact.dtype.name} {digest(getattr(scalar, name)(exact, *arguments))}"
            )
    return "\n".join([*rows, ""])


def test_bits_are_those_of_the_golden_file() -> None:
    """A published function never changes its bits; this machine has those of every other."""
    assert golden() == GOLDEN.read_text(), "if meant: python -m tests.unit.vm.isa.test_scalar"


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(golden())
