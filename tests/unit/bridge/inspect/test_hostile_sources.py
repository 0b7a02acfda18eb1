"""Inspection never crashes and never hangs, whatever bytes it is given."""

import threading
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcai.bridge.inspect.catalogue import SYNTAX
from bcai.bridge.inspect.finding import Audit, Severity
from bcai.bridge.inspect.inspect import inspect_code
from bcai.bridge.inspect.limits import FILE_BYTES_MAX, FINDINGS_KEPT_MAX, TEXT_MAX

DEEP = 60_000
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "brackets": b"(" * DEEP,
    "closed brackets": b"x = " + b"[" * DEEP + b"]" * DEEP,
    "minus signs": b"x = " + b"-" * DEEP + b"1",
    "not": b"x = " + b"not " * DEEP + b"1",
    "sum": b"x = " + b"1+" * DEEP + b"1",
    "powers": b"x = " + b"1**" * DEEP + b"1",
    "attributes": b"x = a" + b".b" * DEEP,
    "calls": b"x = a" + b"()" * DEEP,
    "open(open(open(...)))": b"x = " + b"open(" * 90 + b")" * 90,
    "subscripts": b"x = a" + b"[0]" * DEEP,
    "lambdas": b"x = " + b"lambda: " * DEEP + b"1",
    "choices": b"x = " + b"1 if a else " * DEEP + b"2",
    "elif": b"if a: pass\n" + b"elif a: pass\n" * (DEEP // 4),
    "blocks": b"".join(b" " * depth + b"if a:\n" for depth in range(1500)),
    "aliases": b"a0 = open\n"
    + b"".join(b"a%d = a%d\n" % (i + 1, i) for i in range(5000)) + b"a5000()",
    "circle": b"a = b\nb = a\na.x()\nb()\n",
    "itself": b"a = a.b\na()\nx = x + x\nexec(x)\n",
    "doubled": b"a0 = 'x' * 9\n"
    + b"".join(b"a%d = a%d + a%d\n" % (i + 1, i, i) for i in range(99)),
    "doubled texts": b"a0 = 'xx'\n"
    + b"".join(b"a%d = a%d + a%d\n" % (i + 1, i, i) for i in range(60)) + b"exec(a60)\n",
    "one line": b"x = [" + b"1," * 300_000 + b"]",
    "long name": b"a" * 900_000,
    "digits": b"x = " + b"9" * 100_000,
    "strings": b"x = " + b"'a' " * 100_000,
    "zeros": b"x = 1\0\n",
    "utf-16": "x = 1".encode("utf-16"),
    "latin": b"# coding: latin-1\nname = '\xff'\n",
    "no such encoding": b"# coding: klingon\nx = 1\n",
    "zlib as text": b"# coding: zlib_codec\n" + zlib.compress(b"x" * 1000),
    "slow encoding": b"# coding: punycode\n" + b"a" * 900_000 + b"-" + b"b9" * 20_000,
    "surrogates": "x = '\ud800'\n".encode("utf-8", "surrogatepass"),
    "exec in exec": b"exec(" + repr("exec(" + repr("exec('import os')") + ")").encode() + b")\n",
    "many execs": b"exec('import socket')\n" * 2000,
    "many findings": b"import pickle\n" + b"pickle.load(x)\n" * 20_000,
    "terminal codes": b"import os\nos.environ['\\x1b[2J\\nKEY_TOKEN']\n",
    "f-strings": b"x = " + b"f'{" * 140 + b"1" + b"}'" * 140,
    "stars": b"f(*" + b"*" * DEEP + b"a)",
    "semicolons": b"a;" * 200_000,
}  # fmt: skip
PATIENCE_S = 10.0


def check(audit: Audit) -> None:
    assert len(audit.findings) <= FINDINGS_KEPT_MAX
    assert set(audit.counts) <= {severity.value for severity in Severity}
    for item in audit.findings:
        assert item.line >= 1, item
        assert item.column >= 1, item
        assert len(item.message) <= TEXT_MAX, item
        assert item.message.isprintable(), item


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_source_is_inspected_in_bounded_time(name: str) -> None:
    began = time.monotonic()
    check(inspect_code(HOSTILE[name], "job.py"))
    assert time.monotonic() - began < PATIENCE_S


def test_a_hostile_source_is_inspected_in_a_thread() -> None:
    """A node has no other place for it, and a thread's stack is smaller."""
    done: list[str] = []

    def run() -> None:
        for name, source in HOSTILE.items():
            if b"\n" not in source:
                check(inspect_code(source, "job.py"))
                done.append(name)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_S)
    assert "minus signs" in done


def test_a_file_over_the_limit_is_named_as_unseen() -> None:
    audit = inspect_code(b"#" * (FILE_BYTES_MAX + 1), "big.py")
    assert audit.unseen
    assert "big.py" in audit.unseen[0]
    assert audit.findings == ()


@pytest.mark.parametrize(
    ("source", "line"),
    [(b"a = 1\nb = = 2\n", 2), (b"a\n\nx = 1\0\n", 3), (b"# coding: klingon\n", 1),
     (b"x = '\xff'\n", 1), (b"x = 0777\n", 1)],
)  # fmt: skip
def test_what_does_not_parse_is_refused_with_its_line(source: bytes, line: int) -> None:
    refusal = inspect_code(source, "job.py").refusal
    assert refusal is not None
    assert (refusal.rule, refusal.line) == (SYNTAX, line)


def test_a_file_too_deep_to_be_read_is_not_refused() -> None:
    audit = inspect_code(HOSTILE["minus signs"], "job.py")
    assert audit.refusal is None
    assert audit.unseen


def test_columns_count_characters() -> None:
    (found,) = inspect_code("é = 'ü'; open('/etc/shadow')\n".encode(), "job.py").findings
    assert (found.line, found.column) == (1, 15)


@settings(deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode("utf-8", "ignore"))
)
def test_random_bytes(data: bytes) -> None:
    check(inspect_code(data, "job.py"))


VOCABULARY = (
    "import from as exec eval open os socket subprocess run ( ) [ ] : . , = + * ** \n    if while"
    " True def f lambda return 'a' '/etc/passwd' \"\" 0 f'{x}' getattr __import__ : class try"
    " except with async await yield del global nonlocal raise not in is and or -1 ::-1 @ x"
)
WORDS = st.sampled_from(VOCABULARY.split(" "))


@settings(deadline=5000, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_random_words(text: str) -> None:
    check(inspect_code(text.encode(), "job.py"))
