"""A time in which nobody looked is noticed, once."""

from bcai.cluster.scheduler.absence import Absence


def test_who_looks_all_the_time_was_never_away() -> None:
    absence = Absence(10.0)
    assert absence.is_over(1000.0), "nobody has looked before"
    for now in (1000.0, 1009.0, 1019.0, 1019.0):
        absence.looked(now, 0.0)
        assert not absence.is_over(now + 10.0)
        assert absence.is_over(now + 10.1)


def test_a_long_look_is_no_absence_and_a_clock_that_was_set_back_is_one() -> None:
    absence = Absence(10.0)
    absence.looked(1000.0, 500.0)
    assert not absence.is_over(1501.0)
    assert absence.is_over(1499.0)
