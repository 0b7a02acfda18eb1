from bcai.bridge.sandbox.jail import LogText
from bcai.bridge.sandbox.logs import LogBudget, LogStream


def test_the_first_output_leaves_at_once_and_the_rest_is_kept_to_the_end() -> None:
    seen: list[LogText] = []
    stream = LogStream("stdout", LogBudget(100), seen.append)
    stream.feed(b"first")
    assert seen == [LogText("stdout", "first")]
    stream.feed(b" second\n")
    stream.feed("ü".encode()[:1])
    stream.finish()
    assert "".join(event.text for event in seen) == "first second\n\\xc3"


def test_both_streams_share_one_limit_and_what_fits_is_kept() -> None:
    seen: list[LogText] = []
    budget = LogBudget(10)
    out = LogStream("stdout", budget, seen.append)
    err = LogStream("stderr", budget, seen.append)
    out.feed(b"123456")
    assert not budget.is_exceeded
    err.feed(b"abcdef")
    assert budget.is_exceeded
    out.finish()
    err.finish()
    assert [event.text for event in seen] == ["123456", "abcd"]
    assert budget.used == 10
