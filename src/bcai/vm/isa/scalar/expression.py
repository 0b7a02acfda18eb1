"""Operators for expression graphs over `Arithmetic`, so that the functions read as formulas.

Every operator is one rounded operation of Note [Same bits]; nothing is contracted or reordered. A
Python float beside a `Real` is a constant of its format.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bcai.vm.isa.arithmetic import Arithmetic
from bcai.vm.isa.types import DType

DIGITS = {DType.float32: 24, DType.float64: 53}
"""Binary digits of a mantissa, the leading one included."""

BIAS = {DType.float32: 127, DType.float64: 1023}
"""What is added to an exponent where it stands in the bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """A float of the format in which a graph is evaluated."""

    a: Arithmetic[Any]
    value: Any

    @property
    def dtype(self) -> DType:
        """`float32` or `float64`."""
        return self.a.dtype

    @property
    def digits(self) -> int:
        """Binary digits of the mantissa: 24 or 53."""
        return DIGITS[self.a.dtype]

    def of(self, value: "float | Real") -> "Real":
        """A constant of this format."""
        return value if isinstance(value, Real) else Real(self.a, self.a.constant(value))

    def whole(self, value: int) -> "Whole":
        """An integer constant of this width."""
        return Whole(self.a, self.a.integer(value))

    @property
    def bits(self) -> "Whole":
        """The bits as an integer."""
        return Whole(self.a, self.a.bits(self.value))

    def __add__(self, other: "float | Real") -> "Real":
        return Real(self.a, self.a.add(self.value, self.of(other).value))

    def __radd__(self, other: float) -> "Real":
        return self.of(other) + self

    def __sub__(self, other: "float | Real") -> "Real":
        return Real(self.a, self.a.sub(self.value, self.of(other).value))

    def __rsub__(self, other: float) -> "Real":
        return self.of(other) - self

    def __mul__(self, other: "float | Real") -> "Real":
        return Real(self.a, self.a.mul(self.value, self.of(other).value))

    def __rmul__(self, other: float) -> "Real":
        return self.of(other) * self

    def __truediv__(self, other: "float | Real") -> "Real":
        return Real(self.a, self.a.div(self.value, self.of(other).value))

    def __rtruediv__(self, other: float) -> "Real":
        return self.of(other) / self

    def __neg__(self) -> "Real":
        return (self.bits ^ self.of(-0.0).bits).real()

    def __abs__(self) -> "Real":
        return (self.bits & ~(-1 << 8 * self.dtype.itemsize - 1)).real()

    def __lt__(self, other: "float | Real") -> "Mask":
        return Mask(self.a, self.a.less(self.value, self.of(other).value))

    def __gt__(self, other: "float | Real") -> "Mask":
        return Mask(self.a, self.a.less(self.of(other).value, self.value))

    def equals(self, other: "float | Real") -> "Mask":
        """Whether the values are equal; +0 equals -0."""
        return Mask(self.a, self.a.equal(self.value, self.of(other).value))

    def sqrt(self) -> "Real":
        """Square root, correctly rounded."""
        return Real(self.a, self.a.sqrt(self.value))

    def is_nan(self) -> "Mask":
        """Whether it is not a number."""
        return Mask(self.a, self.a.is_nan(self.value))

    def with_sign_of(self, other: "Real") -> "Real":
        """This, which has no sign of its own, with the sign of another."""
        return (self.bits | (other.bits & other.of(-0.0).bits)).real()


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """An integer of the format's width; it wraps."""

    a: Arithmetic[Any]
    value: Any

    def _lift(self, value: "int | Whole") -> Any:
        return value.value if isinstance(value, Whole) else self.a.integer(value)

    def real(self) -> Real:
        """The float that has these bits."""
        return Real(self.a, self.a.from_bits(self.value))

    def to_float(self) -> Real:
        """The nearest float."""
        return Real(self.a, self.a.to_float(self.value))

    def __add__(self, other: "int | Whole") -> "Whole":
        return Whole(self.a, self.a.iadd(self.value, self._lift(other)))

    def __sub__(self, other: "int | Whole") -> "Whole":
        return Whole(self.a, self.a.isub(self.value, self._lift(other)))

    def __and__(self, other: "int | Whole") -> "Whole":
        return Whole(self.a, self.a.iand(self.value, self._lift(other)))

    def __or__(self, other: "int | Whole") -> "Whole":
        return Whole(self.a, self.a.ior(self.value, self._lift(other)))

    def __xor__(self, other: "int | Whole") -> "Whole":
        return Whole(self.a, self.a.ixor(self.value, self._lift(other)))

    def __lshift__(self, count: int) -> "Whole":
        return Whole(self.a, self.a.shift_left(self.value, count))

    def __rshift__(self, count: int) -> "Whole":
        return Whole(self.a, self.a.shift_right(self.value, count))

    def __lt__(self, other: "int | Whole") -> "Mask":
        return Mask(self.a, self.a.iless(self.value, self._lift(other)))

    def equals(self, other: "int | Whole") -> "Mask":
        """Whether they are equal."""
        return Mask(self.a, self.a.iequal(self.value, self._lift(other)))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A truth value."""

    a: Arithmetic[Any]
    value: Any

    def __and__(self, other: "Mask") -> "Mask":
        return Mask(self.a, self.a.mask_and(self.value, other.value))

    def __or__(self, other: "Mask") -> "Mask":
        return Mask(self.a, self.a.mask_or(self.value, other.value))

    def select(self, yes: "float | Real", no: "float | Real") -> Real:
        """One of two floats."""
        yes, no = (
            Real(self.a, self.a.constant(x)) if isinstance(x, float) else x for x in (yes, no)
        )
        assert isinstance(yes, Real)
        assert isinstance(no, Real)
        return Real(self.a, self.a.select(self.value, yes.value, no.value))

    def choose(self, yes: Whole, no: Whole) -> Whole:
        """One of two integers."""
        return Whole(self.a, self.a.select(self.value, yes.value, no.value))


def fma(x: "float | Real", y: Real, z: "float | Real") -> Real:
    """X * y + z, rounded once."""
    return Real(y.a, y.a.fma(y.of(x).value, y.value, y.of(z).value))


def polynomial(coefficients: tuple[float, ...], x: Real) -> Real:
    """c[0] + c[1] x + c[2] x^2 + ..., a chain of fused multiply-adds from the last one."""
    total = x.of(coefficients[-1])
    for each in coefficients[-2::-1]:
        total = fma(total, x, each)
    return total


def table(text: str) -> tuple[float, ...]:
    """Read hexadecimal floats."""
    return tuple(float.fromhex(each) for each in text.split())


Unary = Callable[[Arithmetic[Any], Any], Any]


def unary(formula: Callable[[Real], Real]) -> Unary:
    """Turn a formula into a function of an arithmetic and one of its values (decorator)."""

    def function(a: Arithmetic[Any], x: Any) -> Any:
        return formula(Real(a, x)).value

    function.__name__ = formula.__name__
    function.__doc__ = formula.__doc__
    return function


def rare(
    mask: Mask,
    compute: Callable[[], tuple[Real, Real, Whole]],
    otherwise: tuple[Real, Real, Whole],
) -> tuple[Real, Real, Whole]:
    """`compute()` where the mask is set, else `otherwise`: skipped if no lane needs it."""
    high, low, count = mask.a.rare(
        mask.value,
        lambda: tuple(each.value for each in compute()),
        tuple(each.value for each in otherwise),
    )
    return Real(mask.a, high), Real(mask.a, low), Whole(mask.a, count)
