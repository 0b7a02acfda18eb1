"""Host functions against a hostile module: each attack beside the same call done right."""

import dataclasses

import numpy as np
import pytest
from tests.unit.bridge.wasm.modules import LIMITS, Run, module_text, run

from bcai.bridge.sandbox.jail import Cause

END = 1 << 16  # of one page
# "y" at 0; the shape [2] at 8; the bytes 0, 1, 2 at 16.
DATA = r"""(memory (export "memory") 1) (data (i32.const 0) "y\ff\1b")
    (data (i32.const 8) "\02\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff\00\01\02")"""


def call(function: str, *numbers: int, **inputs: np.ndarray) -> Run:
    """Call one host function once; a result is dropped."""
    pushed = " ".join(f"(i32.const {number})" for number in numbers)
    made = f"(call ${function} {pushed})"
    has_result = function not in {"log", "output"} and not function.endswith(("_read", "_shape"))
    return run(
        module_text(f"(drop {made})" if has_result else made, function, memory=DATA),
        inputs,
        ("first", "zweitens ä"),
    )


def output(
    *, name: tuple[int, int] = (0, 1), dtype: int = 9, rank: int = 1, shape: int = 8, data: int = 24
) -> Run:
    """Give out `uint8[2]`, or what a hostile module makes of it."""
    return call("output", *name, dtype, rank, shape, data)


def test_done_right_an_output_leaves() -> None:
    done = output()
    assert done.finished.ended is None
    assert done.outputs["y"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": (END - 1, 2)},
        {"name": (-1, 1)},
        {"shape": END - 7},
        {"shape": -8},
        {"data": END - 1},
        {"data": -2},
        {"data": -1},
    ],
    ids=str,
)
def test_a_pointer_out_of_range_ends_the_run(arguments: dict[str, int]) -> None:
    ended = output(**arguments).ended  # pyright: ignore[reportArgumentType]
    assert ended.cause is Cause.TRAP
    assert "but memory ends at 0x10000" in ended.message


def test_the_last_bytes_of_memory_are_in_range_and_nothing_needs_alignment() -> None:
    assert output(data=END - 2).outputs["y"].tolist() == [0, 0]
    x = np.arange(3, dtype=np.float64)
    assert call("input_read", 0, END - 24, x=x).finished.ended is None
    assert call("input_read", 0, 3, x=x).finished.ended is None
    assert "24 bytes at 0xffe9" in call("input_read", 0, END - 23, x=x).ended.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": (1, 1)}, "byte 0xff at 0 of the name is not UTF-8"),
        ({"name": (0, 0)}, "a name of 0 bytes; expected 1 to 255"),
        ({"name": (0, 256)}, "a name of 256 bytes; expected 1 to 255"),
        ({"name": (2, 1)}, r"output '\\x1b': its name holds characters that do not print"),
        ({"dtype": 0}, "output 'y': element type 0 does not exist"),
        ({"dtype": 11}, "output 'y': element type 11 does not exist"),
        ({"rank": 17}, "output 'y': it has 17 axes, at most 16 are allowed"),
        ({"rank": -1}, "output 'y': it has 4294967295 axes, at most 16 are allowed"),
        ({"shape": 16}, "output 'y': an axis has a negative size: [-1]"),
        ({"dtype": 10, "data": 25}, "output 'y': a bool is a byte 0 or 1, and there are others"),
    ],
    ids=str,
)
def test_what_cannot_be_an_output_is_said(arguments: dict[str, int], message: str) -> None:
    ended = output(**arguments).ended  # pyright: ignore[reportArgumentType]
    assert ended.cause is Cause.OUTPUT_INVALID
    assert message in ended.message


def test_a_bool_of_0_and_1_leaves() -> None:
    assert output(dtype=10).outputs["y"].tolist() == [False, True]


def test_a_name_is_given_once() -> None:
    numbers = " ".join(f"(i32.const {number})" for number in (0, 1, 9, 1, 8, 24))
    once = f"(call $output {numbers})"
    done = run(module_text(once + once, "output", memory=DATA))
    assert done.ended.cause is Cause.OUTPUT_INVALID
    assert "output 'y': it was given before" in done.ended.message
    assert run(module_text(once, "output", memory=DATA)).finished.ended is None


def test_all_outputs_together_stay_below_the_limit() -> None:
    numbers = " ".join(f"(i32.const {number})" for number in (0, 1, 9, 1, 8, 24))
    text = module_text(f"(call $output {numbers})", "output", memory=DATA)
    fits = dataclasses.replace(LIMITS, output_bytes=2)
    assert run(text, limits=fits).finished.ended is None
    ended = run(text, limits=dataclasses.replace(LIMITS, output_bytes=1)).ended
    assert ended.cause is Cause.OUTPUT_BYTES
    assert "output 'y' does not fit the limit of 1 B" in ended.message


def test_a_shape_that_overflows_is_too_large_and_nothing_is_read() -> None:
    wide = r'(memory (export "memory") 1) (data (i32.const 0) "y") (data (i32.const 8) "{}")'
    shape = r"\ff\ff\ff\ff\ff\ff\ff\7f" * 16
    numbers = " ".join(f"(i32.const {number})" for number in (0, 1, 1, 16, 8, 24))
    ended = run(module_text(f"(call $output {numbers})", "output", memory=wide.format(shape))).ended
    assert ended.cause is Cause.OUTPUT_BYTES


def test_text_reaches_its_stream_with_what_is_no_text_escaped() -> None:
    assert call("log", 1, 0, 1).text == {"stdout": "y"}
    assert call("log", 2, 0, 3).text == {"stderr": r"y\xff\x1b"}
    assert call("log", 1, END - 1, 1).finished.ended is None
    assert "the text is 2 bytes at 0xffff" in call("log", 1, END - 1, 2).ended.message
    assert "stream 0; there are 1 (stdout) and 2 (stderr)" in call("log", 0, 0, 1).ended.message


def test_a_character_may_be_cut_in_two() -> None:
    memory = r'(memory (export "memory") 1) (data (i32.const 0) "\c3\a4\c3")'
    one = "(call $log (i32.const 1) (i32.const {}) (i32.const 1))"
    body = one.format(0) + one.format(1) + one.format(2)
    assert run(module_text(body, "log", memory=memory)).text == {"stdout": r"ä\xc3"}


def test_text_stays_below_the_limit() -> None:
    assert call("log", 1, 0, LIMITS.log_bytes).finished.ended is None
    ended = call("log", 1, 0, LIMITS.log_bytes + 1).ended
    assert ended.cause is Cause.LOG_BYTES
    assert "more than its limit of 1000 B" in ended.message


@pytest.mark.parametrize(
    "function", ["input_dtype", "input_rank", "input_size", "input_shape", "input_read"]
)
def test_an_index_of_no_input_ends_the_run(function: str) -> None:
    more = (0,) if function in {"input_shape", "input_read"} else ()
    x = np.ones(2, np.float32)
    assert call(function, 0, *more, x=x).finished.ended is None
    for index, says in ((1, "1; there are 1"), (-1, "-1, as input_find gives for a name that is")):
        ended = call(function, index, *more, x=x).ended
        assert ended.cause is Cause.TRAP
        assert f"bcai.{function}: index {says}" in ended.message
    assert "the job's inputs: 'x'" in ended.message
    assert "--input NAME=FILE.npy" in ended.hint


def test_inputs_stand_in_the_order_of_their_names_and_are_found_by_them() -> None:
    body = """(call $log (i32.const 1) (i32.const 16) (i32.add (i32.const 1) (call $input_find
            (i32.const 0) (i32.const 1))))"""
    text = module_text(body, "log", "input_find", memory=DATA + '(data (i32.const 16) "abc")')
    one = np.zeros(1, np.int8)
    assert run(text, {"x": one}).text == {}
    assert run(text, {"y": one}).text == {"stdout": "a"}
    assert run(text, {"y": one, "z": one, "x": one, "w": one}).text == {"stdout": "abc"}


def test_arguments_arrive_as_utf8() -> None:
    body = """(call $argument_read (i32.const 1) (i32.const 32))
        (call $log (i32.const 1) (i32.const 32) (call $argument_size (i32.const 1)))"""
    text = module_text(body, "argument_read", "argument_size", "log", memory=DATA)
    assert run(text, {}, ("first", "zweitens ä")).text == {"stdout": "zweitens ä"}
    ended = run(text, {}, ("first",)).ended
    assert "bcai.argument_read: index 1; there are 1" in ended.message


def test_an_input_of_more_axes_than_travel_is_refused() -> None:
    assert call("input_count", x=np.zeros((1,) * 16, np.int8)).finished.ended is None
    ended = call("input_count", x=np.zeros((1,) * 17, np.int8)).ended
    assert ended.cause is Cause.EXCEPTION
    assert "over the limit" in ended.message
