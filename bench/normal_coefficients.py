"""Print the constants of `bcai/vm/isa/scalar/normal_distribution.py`, in hexadecimal.

q(a) / d(a), the share beyond a over the density there, is approximated by p / (a p + r) with
p = a^10 + ... and r of degree 9 (float32: 4 and 3), such that the largest relative error is small.
For a given denominator that is a problem of least squares; the denominator is that of the round
before (Sanathanan and Koerner, 1963), and places with large errors weigh more from round to round
(Lawson, 1961). Then one coefficient after the other is rounded and the others fitted anew.

    python bench/normal_coefficients.py
"""

from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
from scalar_coefficients import interpolate, near_zero, nearest, text

mp.mp.dps = 110
Key = tuple[str, int]


@dataclass(frozen=True)
class Format:
    """A format, how far a goes in it, and the degrees.

    `nudge` is what 1 / sqrt(2 pi) is changed by, in units of the last place: for float32 another
    value than the nearest lets the quotient come closer.
    """

    kind: Any
    digits: int
    end: float
    degree: int
    exponential: int
    nudge: int
    rounds: int


FORMATS = (
    Format(np.float32, 24, 14.25, 4, 6, -40, 14),
    Format(np.float64, 53, 38.75, 10, 12, 0, 10),
)


def main() -> None:
    for each in FORMATS:
        factor = nearest(1 / mp.sqrt(2 * mp.pi), each.digits)
        factor += each.nudge * mp.mpf(2) ** -(each.digits + 1)
        span = mp.log(2) * mp.mpf("1.001")
        slope = near_zero(lambda s: mp.expm1(-s / 2) / s, -0.5)
        density = [mp.mpf(1), *interpolate(slope, -span, span, each.exponential)]
        p, r, error = Quotient(each, factor).fit()
        print(f"float{8 * np.dtype(each.kind).itemsize}, error 2^{float(mp.log(error, 2)):.2f}")
        for name, values in (("DENSITY", [c * factor for c in density]), ("P", p), ("R", r)):
            print(f"{name}\n    " + "\n    ".join(text(c, each.kind) for c in values))


class Quotient:
    """The unknown coefficients, those that are rounded already, and the weights."""

    def __init__(self, format_: Format, factor: Any) -> None:
        self.format, self.factor = format_, factor
        degree = format_.degree
        count = 6 * (2 * degree - 1)
        half = mp.mpf(format_.end) / 2
        self.places = [half * (1 - mp.cos(mp.pi * (i + 0.5) / count)) for i in range(count)]
        self.goal = [factor / self._share(a) for a in self.places]
        self.names: list[Key] = [("p", i) for i in range(degree)]
        self.names += [("r", i) for i in range(1, degree)]
        self.rounded: dict[Key, Any] = {}
        self.weights, self.below = [mp.mpf(1)] * count, [mp.mpf(1)] * count

    def fit(self) -> tuple[list[Any], list[Any], Any]:
        """Coefficients of p and r, and the largest relative error."""
        p, r = self._solve(5)
        for _ in range(self.format.rounds):
            errors = [abs(each) for each in self._errors(p, r)]
            worst = max(errors)
            lifted = [
                weight * mp.sqrt(mp.mpf("0.05") + error / worst)
                for weight, error in zip(self.weights, errors, strict=True)
            ]
            self.weights = [len(lifted) * each / sum(lifted) for each in lifted]
            p, r = self._solve(2)
        for name in sorted(self.names, key=lambda name: (name[0], -name[1])):
            self.rounded[name] = nearest((p if name[0] == "p" else r)[name[1]], self.format.digits)
            p, r = self._solve(2)
        r[0] = 2 * nearest(self.factor * p[0], self.format.digits)  # so that q(0) is 1/2
        return p, r, max(abs(each) for each in self._errors(p, r))

    def _share(self, a: Any) -> Any:
        """q(a) e^(a^2 / 2), but for the rounding of 2 ln 2 in the exponential."""
        rest = 1 - nearest(2 * mp.log(2), self.format.digits) / (2 * mp.log(2))
        return mp.ncdf(-a) * mp.exp(a * a / 2 * (1 + rest))

    def _solve(self, rounds: int) -> tuple[list[Any], list[Any]]:
        """Least squares of (goal - a) p - r, with r(0) = 2 factor p(0)."""
        p, r = list[Any](), list[Any]()
        for _ in range(rounds):
            found = self._solve_once([name for name in self.names if name not in self.rounded])
            p = [*(found["p", i] for i in range(self.format.degree)), mp.mpf(1)]
            r = [2 * self.factor * p[0], *(found["r", i] for i in range(1, self.format.degree))]
            self.below = [mp.polyval(p[::-1], a) for a in self.places]
        return p, r

    def _solve_once(self, unknown: list[Key]) -> dict[Key, Any]:
        if not unknown:
            return self.rounded
        rows, right = list[list[Any]](), list[Any]()
        scales = zip(self.places, self.goal, self.weights, self.below, strict=True)
        for a, goal, weight, below in scales:
            scale = weight / goal / below
            rest = -(goal - a) * a**self.format.degree
            rest -= sum(self._term(name, a, goal) * c for name, c in self.rounded.items())
            rows.append([scale * self._term(name, a, goal) for name in unknown])
            right.append(scale * rest)
        matrix = mp.matrix(rows)
        solution = mp.lu_solve(matrix.T * matrix, matrix.T * mp.matrix(right))
        return self.rounded | dict(zip(unknown, solution, strict=True))

    def _term(self, name: Key, a: Any, goal: Any) -> Any:
        kind, power = name
        if kind == "r":
            return -(a**power)
        return (goal - a) * a**power - (2 * self.factor if power == 0 else 0)

    def _errors(self, p: list[Any], r: list[Any]) -> list[Any]:
        return [
            (a + mp.polyval(r[::-1], a) / mp.polyval(p[::-1], a)) / goal - 1
            for a, goal in zip(self.places, self.goal, strict=True)
        ]


if __name__ == "__main__":
    main()
