import math

from bcai.cli.curve import POINTS_MAX, Curve


def test_a_short_curve_keeps_every_value() -> None:
    curve = Curve()
    for value in (3.0, 2.0, 1.0):
        curve.add(value)
    assert curve.points == [3.0, 2.0, 1.0]
    assert curve.latest == 1.0


def test_a_long_curve_stays_small_and_keeps_its_course() -> None:
    curve = Curve()
    for number in range(50_000):
        curve.add(float(number))
    assert len(curve.points) <= POINTS_MAX
    assert curve.latest == 49_999
    assert curve.points == sorted(curve.points)
    assert curve.points[0] < 100
    assert curve.points[-1] > 49_000


def test_thinning_loses_no_value() -> None:
    for count in range(POINTS_MAX - 1, POINTS_MAX + 3):
        curve = Curve()
        for number in range(count):
            curve.add(float(number))
        stride = 1 if count < POINTS_MAX else 2
        assert sum(curve.points) * stride == sum(range(count // stride * stride))


def test_a_value_that_is_not_a_number_is_no_error() -> None:
    curve = Curve()
    curve.add(math.nan)
    assert math.isnan(curve.latest)
