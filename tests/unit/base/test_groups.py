from bcai.base.groups import errors_in


def test_errors_come_out_of_groups_in_order() -> None:
    first, second, third = ValueError(1), ValueError(2), ValueError(3)
    group = ExceptionGroup("all", [first, ExceptionGroup("some", [second]), third])
    assert errors_in(group) == [first, second, third]
