"""Print the constants of `bcai/vm/isa/scalar`, in hexadecimal, for float32 and float64.

Polynomials interpolate at Chebyshev points in 80 digits; their coefficients are rounded to the
format. Each has the fewest that keep its absolute error on the interval within what is asked.

    python bench/scalar_coefficients.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 80
Function = Callable[[Any], Any]
FORMATS = ((24, np.float32), (53, np.float64))


@dataclass(frozen=True)
class Polynomial:
    """A function to approximate on [low, high], with an error under 2**-(digits + bits)."""

    name: str
    f: Function
    low: Any
    high: Any
    bits: int
    formats: tuple[int, ...] = (24, 53)


def interpolate(f: Function, low: Any, high: Any, count: int) -> list[Any]:
    low, high = mp.mpf(low), mp.mpf(high)
    points = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count))
        for i in range(count)
    ]
    rows = mp.matrix(count, count)
    values = mp.matrix(count, 1)
    for i, x in enumerate(points):
        values[i] = f(x)
        for j in range(count):
            rows[i, j] = x**j
    return list(mp.lu_solve(rows, values))


def fit(poly: Polynomial, digits: int) -> list[Any]:
    for count in range(2, 40):
        c = interpolate(poly.f, poly.low, poly.high, count)
        span = mp.mpf(poly.high) - poly.low
        xs = [poly.low + span * i / 401 for i in range(402)]
        error = max(abs(poly.f(x) - mp.polyval(c[::-1], x)) for x in xs)
        if error < mp.mpf(2) ** -(digits + poly.bits):
            return c
    raise ValueError(poly.name)


def text(value: Any, kind: Any) -> str:
    """Nearest float in hexadecimal, without the zeros at its end."""
    mantissa, exponent = float(kind(mp.nstr(value, 60))).hex().split("p")
    return mantissa.rstrip("0").rstrip(".") + "p" + exponent


def pieces(value: Any, count: int, kind: Any, digits: int) -> list[str]:
    """The value as a sum of floats, each the nearest to what is left."""
    out: list[str] = []
    for _ in range(count):
        piece = nearest(value, digits)
        out.append(text(piece, kind))
        value -= piece
    return out


def nearest(value: Any, digits: int) -> Any:
    exponent = mp.floor(mp.log(abs(value), 2)) - digits + 1
    return mp.nint(value / mp.mpf(2) ** exponent) * mp.mpf(2) ** exponent


def truncated(value: Any, until: int, digits: int, shift: int) -> list[str]:
    """The value as a sum of positive floats, down to 2**-until, each times 2**shift."""
    out: list[str] = []
    while value > mp.mpf(2) ** -until:
        exponent = mp.floor(mp.log(value, 2)) - digits + 1
        piece = mp.floor(value / mp.mpf(2) ** exponent) * mp.mpf(2) ** exponent
        out.append(text(piece * mp.mpf(2) ** shift, np.float64))
        value -= piece
    return out


def near_zero(f: Function, limit: Any) -> Function:
    """The function, with its value at 0 replaced by that beside it."""
    return lambda x: f(x) if abs(x) > mp.mpf(10) ** -20 else mp.mpf(limit)


def of_square(f: Function, limit: Any) -> Function:
    """(f(x) / x - 1) / x^2 as a function of x^2."""
    return near_zero(lambda z: (f(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, limit)


HALF_LN2, PI_4 = mp.log(2) / 2 * mp.mpf("1.002"), (mp.pi / 4) ** 2 * mp.mpf("1.01")
MIDDLE = mp.mpf("1.4609375")
POLYNOMIALS = (
    Polynomial("EXP", near_zero(lambda r: (mp.expm1(r) - r) / r**2, 0.5), -HALF_LN2, HALF_LN2, 3),
    Polynomial(
        "LOG",
        near_zero(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, mp.mpf(1) / 3),
        mp.sqrt(mp.mpf(0.5)) - 1,
        mp.sqrt(2) - 1,
        1,
        (24,),
    ),
    Polynomial(
        "LOG_TAIL",
        near_zero(
            lambda z: ((2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z - mp.mpf(2) / 3) / z,
            mp.mpf(2) / 5,
        ),
        0,
        0.0296,
        3,
    ),
    Polynomial("TANH", of_square(mp.tanh, -mp.mpf(1) / 3), 0, 0.361, 3),
    Polynomial("SINH", of_square(mp.sinh, mp.mpf(1) / 6), 0, 0.251, 3),
    Polynomial("SIN", of_square(mp.sin, -mp.mpf(1) / 6), 0, PI_4, 4),
    Polynomial(
        "COS",
        near_zero(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, mp.mpf(1) / 24),
        0,
        PI_4,
        4,
    ),
    Polynomial("ATAN", of_square(mp.atan, -mp.mpf(1) / 3), 0, 0.1718, 3),
    Polynomial("ASIN", of_square(mp.asin, mp.mpf(1) / 6), 0, 0.2501, 3),
    Polynomial(
        "ERF",
        near_zero(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 2 / mp.sqrt(mp.pi) - 1),
        0,
        0.8501,
        4,
    ),
)


def main() -> None:
    for poly in POLYNOMIALS:
        for digits, kind in FORMATS:
            if digits in poly.formats:
                show(f"{poly.name} {digits}", [text(c, kind) for c in fit(poly, digits)])
    for digits, kind in FORMATS:
        at_middle = nearest(mp.erf(MIDDLE), digits)
        show(f"ERF at {MIDDLE} {digits}", [text(at_middle, kind)])
        middle = Polynomial(
            "ERF_MIDDLE",
            lambda u, at=at_middle: mp.erf(MIDDLE + u) - at,
            mp.mpf("0.921875") - MIDDLE,
            2 - MIDDLE,
            3,
        )
        show(f"ERF_MIDDLE {digits}", [text(c, kind) for c in fit(middle, digits)])
        end = 4 if digits == 24 else 6
        tail = Polynomial(
            "ERF_TAIL",
            lambda u, at=(2 + end) // 2: -mp.log(mp.erfc(at + u)),
            -(end - 2) // 2,
            (end - 2) // 2,
            -3,
        )
        show(f"ERF_TAIL {digits}", [text(c, kind) for c in fit(tail, digits)])
        show_erfc(digits, kind)
    for digits, kind in FORMATS:
        show(f"LOG2E {digits}", pieces(1 / mp.log(2), 1, kind, digits))
        show(f"LN2 {digits}", pieces(mp.log(2), 3, kind, digits))
        show(f"TWO_THIRDS {digits}", pieces(mp.mpf(2) / 3, 2, kind, digits))
        show(f"PI_2 {digits}", pieces(mp.pi / 2, 4, kind, digits))
        show(f"TWO_OVER_PI {digits}", pieces(2 / mp.pi, 1, kind, digits))
    show("TWO_OVER_PI * 2**64, 24", truncated(2 / mp.pi, 128 + 64, 24, 64))
    mp.mp.dps = 400
    show("TWO_OVER_PI * 2**600, 53", truncated(2 / mp.pi, 1024 + 128, 53, 600))


def show_erfc(digits: int, kind: Any) -> None:
    """e^(x^2) erfc(x) around 1.5; x times it, as a function of 1 / x^2 around 5/64."""
    centre, place = mp.mpf("1.5"), mp.mpf("0.078125")
    at_centre = scaled_erfc(centre)
    show(f"ERFC at {centre} {digits}", pieces(at_centre, 2, kind, digits))
    slope = 2 * centre * at_centre - 2 / mp.sqrt(mp.pi)
    middle = Polynomial(
        "ERFC_MIDDLE",
        near_zero(lambda u: (scaled_erfc(centre + u) - at_centre) / u, slope),
        mp.mpf("0.75") - centre,
        mp.mpf("2.5") - centre,
        5,
    )
    show(f"ERFC_MIDDLE {digits}", [text(c, kind) for c in fit(middle, digits)])
    show(f"ONE_OVER_ROOT_PI {digits}", pieces(1 / mp.sqrt(mp.pi), 2, kind, digits))

    def tail(u: Any) -> Any:
        x = 1 / mp.sqrt(place + u)
        return (scaled_erfc(x) * x - 1 / mp.sqrt(mp.pi)) / (place + u)

    end = 10.5 if digits == 24 else 27.5
    far = Polynomial("ERFC_TAIL", tail, 1 / mp.mpf(end) ** 2 - place, mp.mpf("0.16") - place, 0)
    show(f"ERFC_TAIL {digits}", [text(c, kind) for c in fit(far, digits)])


def scaled_erfc(x: Any) -> Any:
    return mp.erfc(x) * mp.exp(x * x)


def show(name: str, values: list[str]) -> None:
    print(f"{name} ({len(values)})")
    print("    " + "\n    ".join(values))


if __name__ == "__main__":
    main()
