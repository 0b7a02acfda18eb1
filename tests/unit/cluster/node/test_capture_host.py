"""Nothing that a captured script sends is believed: frames are checked, all memory is counted."""

import contextlib
import itertools
import socket
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import BcaiError, FormatError, ResourceError, VerifyError
from bcai.base.units import MIB
from bcai.bridge.sandbox.capture_frames import (
    FRAME_BYTES_MAX,
    Define,
    Fetch,
    Frame,
    Free,
    Give,
    Run,
    Unmapped,
    frame_length,
    parse_frame,
)
from bcai.cluster.node.capture_host import CaptureHost, serve
from bcai.proof.capture import GivenLeaf, PartLeaf
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.step_trace import Place
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.types import TensorType, parse_type
from bcai.vm.program import cbor
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program

VALUE = np.arange(6, dtype="f").reshape(2, 3)
TYPE = parse_type("float32[2,3]")


def doubling() -> bytes:
    """`o0` is twice the input times a scalar."""
    build = Builder()
    x, rate = build.input("i0", TYPE), build.input("i1", "float32[]")
    return encode_program(build.finish(o0=(x + x) * rate).program)


def host(memory_bytes: int = 64 * MIB) -> CaptureHost:
    backend = ReferenceBackend()
    return CaptureHost(CaptureRecorder(), backend, backend, memory_bytes)


def ready(memory_bytes: int = 64 * MIB) -> CaptureHost:
    made = host(memory_bytes)
    made.take(Define(doubling()))
    made.take(Give(1, TYPE, ""), VALUE.tobytes())
    return made


HALF = np.float32(0.5).tobytes()


def test_a_part_runs_and_its_leaf_says_where_its_operands_come_from() -> None:
    made = ready()
    made.take(Run(0, (1, HALF), (2,)))
    found = made.take(Fetch(2))
    assert found is not None
    np.testing.assert_array_equal(found, VALUE)
    given_leaf, part = made.recorder.leaves
    assert isinstance(given_leaf, GivenLeaf)
    assert isinstance(part, PartLeaf)
    assert part.sources == (Place(0, 0), HALF)
    assert part.results == (given_leaf.content,)


def test_a_value_that_is_there_already_is_that_one() -> None:
    made = ready()
    made.take(Run(0, (1, np.float32(1).tobytes()), (2,)))
    made.take(Give(3, TYPE, ""), (2 * VALUE).tobytes())
    made.take(Run(0, (3, HALF), (4,)))
    assert made.recorder.leaves[-1].sources[0] == Place(1, 0)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("frame", "payload", "sentence"),
    [
        (Run(0, (7, HALF), (2,)), b"", "value 7: there is none, or it was freed"),
        (Run(0, (1,), (2,)), b"", "found 1 inputs, the program has 2"),
        (Run(0, (HALF, HALF), (2,)), b"", "a number of 4 bytes, the input is float32\\[2,3\\]"),
        (Run(0, (1, b"12345678"), (2,)), b"", "a number of 8 bytes"),
        (Run(0, (1, 1), (2,)), b"", "value 1 is float32\\[2,3\\], input i1 is float32\\[\\]"),
        (Run(0, (1, HALF), (2, 3)), b"", "found 2 outputs, the program has 1"),
        (Run(0, (1, HALF), (1,)), b"", "value 1: expected a number above 1"),
        (Run(3, (1, HALF), (2,)), b"", "program 3: there are 1"),
        (Give(1, TYPE, ""), VALUE.tobytes(), "value 1: expected a number above 1"),
        (Fetch(9), b"", "value 9: there is none"),
        (Free((9,)), b"", "value 9: there is none"),
    ],
)
def test_what_does_not_fit_is_named(frame: Any, payload: bytes, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        ready().take(frame, payload)


def test_a_freed_value_is_gone() -> None:
    made = ready()
    made.take(Free((1,)))
    with pytest.raises(FormatError, match="value 1: there is none, or it was freed"):
        made.take(Run(0, (1, HALF), (2,)))


def test_a_program_is_verified_before_it_runs() -> None:
    with pytest.raises(FormatError):
        host().take(Define(b"no program"))
    build = Builder()
    x = build.input("i0", TYPE)
    program = build.build({"o0": x.emit("Exp")})
    wrong = encode_program(program).replace(b"float32", b"int8")
    with pytest.raises((FormatError, VerifyError)):
        host().take(Define(wrong[:-1] + b"\xff"))


def test_a_program_that_needs_more_than_the_limit_never_runs() -> None:
    build = Builder()
    huge = build.emit("Full", (), {"shape": (1 << 30,), "value": 1.0, "dtype": TYPE.dtype})[0]
    made = host()
    made.take(Define(encode_program(build.finish(o0=huge.sum()).program)))
    with pytest.raises(ResourceError, match=r"need 4\.0 GiB; their part .* is 64\.0 MiB"):
        made.take(Run(0, (), (1,)))


def test_values_that_are_kept_are_counted_and_freed_ones_are_not() -> None:
    made = host(4 * MIB)
    kind = parse_type("float32[262144]")
    for handle in range(1, 9):
        made.take(Give(handle, kind, ""), np.full(262144, handle % 2, "f").tobytes())
        made.take(Free((handle,)))
    with pytest.raises(ResourceError, match=r"need .* 4\.0 MiB"):
        _give_all(made, kind, range(9, 20))


def _empty(count: int) -> Iterator[Frame]:
    """Tensors of no element, none of which is freed."""
    return (Give(handle, parse_type("float32[0]"), "") for handle in range(2, count))


def _wide(count: int) -> Iterator[Frame]:
    """Parts of many operands whose one result is freed at once."""
    build = Builder()
    ports = [build.input(f"i{place}", "float32[]") for place in range(1000)]
    yield Define(encode_program(build.finish(o0=ports[0] + ports[1]).program))
    for handle in range(2, count):
        yield Run(1, (HALF,) * 1000, (handle,))
        yield Free((handle,))


def _lines(count: int) -> Iterator[Frame]:
    return (Unmapped("aten.x", f"train.py:{number}") for number in range(count))


FLOODS: dict[str, tuple[Iterator[Frame], str]] = {
    "operations": (_lines(10_000), "is noted of the captured operations"),
    "programs": (itertools.repeat(Define(doubling()), 1_000), "is noted of the captured"),
    "handles": (_empty(10_000), r"for \d[\d,]* tensors that the script keeps"),
    "sources": (_wide(300), "for 1 tensor that the script keeps and for the receipt"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_at_the_limit_with_its_reason(name: str) -> None:
    frames, sentence = FLOODS[name]
    made = ready(MIB)
    with pytest.raises(ResourceError, match=sentence):
        _take_all(made, frames)
    assert made.bytes_peak <= MIB


def test_a_normal_loop_is_far_below_it() -> None:
    made = ready(MIB)
    for step in range(2, 202):
        made.take(Run(0, (step - 1, HALF), (step,)))
        made.take(Free((step - 1,)))
    assert made.bytes_peak < MIB / 3
    before = made.bytes_peak
    for handle in range(202, 2202):  # the same value again and again: nothing of it stays
        made.take(Give(handle, TYPE, ""), VALUE.tobytes())
        made.take(Free((handle,)))
    assert made.bytes_peak < before + 1000


def test_what_is_counted_is_what_python_takes() -> None:
    made = ready()
    tracemalloc.start()
    try:
        before, counted = tracemalloc.get_traced_memory()[0], made.bytes_peak
        for handle in range(2, 1002):
            made.take(Run(0, (1, np.float32(handle).tobytes()), (handle,)))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < made.bytes_peak - counted < 3 * taken


def _give_all(made: CaptureHost, kind: TensorType, handles: Iterable[int]) -> None:
    for handle in handles:
        made.take(Give(handle, kind, ""), np.full(kind.shape, handle, "f").tobytes())


def _take_all(made: CaptureHost, frames: Iterable[Frame]) -> None:
    for frame in frames:
        made.take(frame)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_are_refused(data: bytes) -> None:
    try:
        frame = parse_frame(data)
    except FormatError:
        return
    assert frame is not None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ([9], "kind: found 9"),
        ([1, 0, [True], [1]], "source: found True"),
        ([1, 0, [b"123456789"], [1]], "source"),
        ([2, 1, 77, [2], ""], "element type: found 77"),
        ([2, 1, 1, [-1], ""], "size: found -1"),
        ([2, 1, 1, [1] * 17, ""], "sizes: expected at most 16"),
        ([2, 1, 1, [0, 1 << 40, 1 << 40], ""], "sizes: expected at most 16, of"),
        ([2, 1, 1, [1], "a\nb"], "origin"),
        ([5, "x" * 501, ""], "operation: expected at most 500"),
        ([3, 0], "handle: found 0"),
        ("text", "expected an array"),
    ],
)
def test_frames_say_what_is_wrong(fields: Any, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        parse_frame(cbor.encode(fields))


def served(made: CaptureHost, data: bytes) -> tuple[list[BcaiError], bytes]:
    """What `serve` raises for these bytes, and what it answers."""
    ours, theirs = socket.socketpair()
    raised: list[BcaiError] = []

    def run() -> None:
        try:
            with ours:
                serve(ours, made)
        except BcaiError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # it left frames unread
            while more := theirs.recv(1 << 16):
                answer += more
    thread.join()
    return raised, answer


def test_the_script_is_told_why_and_nothing_more_is_taken() -> None:
    fetch = cbor.encode([3, 5])
    raised, answer = served(host(), (frame_length(len(fetch)) + fetch) * 2)
    assert "value 5: there is none" in str(raised[0])
    assert answer.count(b"value 5") == 1


def test_a_frame_or_a_value_that_is_too_long_is_refused_before_it_is_read() -> None:
    raised, _ = served(host(), frame_length(FRAME_BYTES_MAX + 1))
    assert "a frame of" in str(raised[0])
    give = cbor.encode([2, 1, 1, [1 << 40], ""])
    raised, _ = served(host(), frame_length(len(give)) + give)
    assert isinstance(raised[0], ResourceError)


def test_a_script_that_stops_in_the_middle_is_no_error() -> None:
    give = cbor.encode([2, 1, 1, [100], ""])
    assert served(host(), frame_length(len(give)) + give + b"123") == ([], b"")
