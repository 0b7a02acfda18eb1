"""A wrong name leads to the right one."""

from bcai.base.suggest import did_you_mean, nearest


def test_the_nearest_comes_first_and_all_are_named() -> None:
    assert (
        nearest("adm", ["sgd", "rmsprop", "adam"])
        == "did you mean 'adam'? known: adam, rmsprop, sgd"
    )
    assert nearest("quux", ["sgd", "adam"]) == "known: adam, sgd"


def test_what_is_near_is_named_alone() -> None:
    assert did_you_mean("timeot", ["timeout", "name"]) == "; did you mean 'timeout'?"
    assert did_you_mean("quux", ["timeout"]) == ""
