"""A run has one encoding, and every field is in it."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError, InputError
from bcai.proof.run import MAGIC, Batches, Constant, Run, decode_run, encode_run
from bcai.proof.schedule import Knot
from bcai.vm.program import cbor

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
BATCHES = Batches(THREE, 1797, 32, True, {"x": "features", "target": "label"})
RUN = Run(ONE, 1, 200, TWO, -5, BATCHES, {"learning_rate": (Knot(0, 0.1), Knot(199, 0.0))}, 20)
PLAIN = Run(ONE, 1, 1, TWO, 0, Constant(THREE, ("x", "mask")))
GOLDEN = {
    "training": (
        RUN,
        "626361692d72756e0089010158200101010101010101010101010101010101010101010101010101"
        "01010101010118c85820020202020202020202020202020202020202020202020202020202020202"
        "02022486015820030303030303030303030303030303030303030303030303030303030303030319"
        "07051820f5828266746172676574656c6162656c82617868666561747572657381826d6c6561726e"
        "696e675f72617465828200fb3fb999999999999a8218c7fb000000000000000014",
    ),
    "plain": (
        PLAIN,
        "626361692d72756e0089010158200101010101010101010101010101010101010101010101010101"
        "01010101010101582002020202020202020202020202020202020202020202020202020202020202"
        "02008300582003030303030303030303030303030303030303030303030303030303030303038264"
        "6d61736b6178800a",
    ),
}

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
HASH = st.binary(min_size=32, max_size=32)
KNOTS = st.dictionaries(
    st.integers(0, 999), st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4
).map(lambda each: tuple(Knot(step, each[step]) for step in sorted(each)))
FEEDS = st.builds(Constant, HASH, st.lists(TEXT, unique=True).map(tuple)) | st.builds(
    Batches,
    HASH,
    st.integers(50, 10**6),
    st.integers(1, 50),
    st.booleans(),
    st.dictionaries(TEXT, TEXT),
)
RUNS = st.builds(
    Run,
    HASH,
    st.just(1),
    st.integers(1, 10**6),
    HASH,
    st.integers(-(2**63), 2**63 - 1),
    FEEDS,
    st.dictionaries(TEXT, KNOTS, max_size=3),
    st.integers(1, 10**6),
)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name: str) -> None:
    run, golden = GOLDEN[name]
    assert encode_run(run).hex() == golden


@given(RUNS)
def test_what_is_written_is_read(run: Run) -> None:
    again = decode_run(encode_run(run))
    assert encode_run(again) == encode_run(run)
    assert again.digest == run.digest
    assert replace(again, feed=run.feed) == run  # only a feed's names may have changed their order


@given(st.integers(0, len(encode_run(RUN)) - 1), st.integers(1, 255))
def test_no_changed_byte_is_the_same_run(place: int, change: int) -> None:
    data = bytearray(encode_run(RUN))
    data[place] ^= change
    try:
        found = decode_run(bytes(data))
    except FormatError:
        return
    assert found != RUN
    assert found.digest != RUN.digest


def test_every_field_is_in_the_digest() -> None:
    feed = BATCHES
    changed = [
        replace(RUN, program_root=TWO),
        replace(RUN, isa_version=2),
        replace(RUN, steps=201),
        replace(RUN, first_state=ONE),
        replace(RUN, seed=5),
        replace(RUN, feed=replace(feed, data_root=ONE)),
        replace(RUN, feed=replace(feed, rows=1796)),
        replace(RUN, feed=replace(feed, batch_size=31)),
        replace(RUN, feed=replace(feed, shuffle=False)),
        replace(RUN, feed=replace(feed, columns={"x": "features"})),
        replace(RUN, feed=Constant(THREE, ("x",))),
        replace(RUN, schedules={}),
        replace(RUN, schedules={"learning_rate": (Knot(0, 0.1), Knot(199, -0.0))}),
        replace(RUN, checkpoint_every=10),
    ]
    assert len({each.digest for each in [RUN, *changed]}) == len(changed) + 1


FIELDS: list[Any] = cbor.decode(encode_run(RUN)[len(MAGIC) :])
FEED: list[Any] = FIELDS[6]


def with_field(place: int, value: object) -> bytes:
    return MAGIC + cbor.encode([*FIELDS[:place], value, *FIELDS[place + 1 :]])


REFUSED = {
    "not magic": b"bcai-program\x00" + encode_run(RUN)[len(MAGIC) :],
    "a byte more": encode_run(RUN) + b"\x00",
    "cut off": encode_run(RUN)[:-1],
    "another version": with_field(0, 2),
    "a field less": MAGIC + cbor.encode(FIELDS[:-1]),
    "no array": MAGIC + cbor.encode(1),
    "steps as truth": with_field(3, True),
    "shuffle as a number": with_field(6, [*FEED[:4], 1, FEED[5]]),
    "ports in another order": with_field(6, [*FEED[:5], FEED[5][::-1]]),
    "a port twice": with_field(6, [*FEED[:5], FEED[5] * 2]),
    "an unknown feed": with_field(6, [2, *FEED[1:]]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_canonical_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        decode_run(REFUSED[name])


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("steps", 0, "steps: found 0, expected a whole number from 1"),
        ("seed", 2**63, "seed"),
        ("checkpoint_every", 0, "checkpoint_every"),
        ("program_root", b"short", "program_root"),
        ("feed", replace(PLAIN.feed, names=("x", "x")), "stands twice"),
        ("schedules", {"rate": ()}, "found no knot"),
        ("schedules", {"rate": (Knot(1, 0.0), Knot(1, 1.0))}, "step 1 follows 1"),
        ("schedules", {"rate": (Knot(0, math.nan),)}, "expected a finite float"),
    ],
)
def test_a_bad_field_is_named(field: str, value: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        replace(RUN, **{field: value})


def test_a_batch_is_not_larger_than_the_data() -> None:
    with pytest.raises(InputError, match=r"feed\.batch_size: found 9, .* from 1 to 8"):
        replace(RUN, feed=Batches(ONE, 8, 9, False, {}))


def test_checkpoints_cover_every_step_once() -> None:
    run = replace(RUN, steps=23, checkpoint_every=10)
    assert [run.span(each) for each in range(run.checkpoints)] == [
        range(10), range(10, 20), range(20, 23)
    ]  # fmt: skip
