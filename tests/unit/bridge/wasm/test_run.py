"""A module runs to the same end every time, and every end says why."""

import dataclasses
import struct
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.unit.bridge.wasm.modules import LIMITS, module_text, refusal, run, to_bytes

from bcai.base.units import MIB
from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.wasm.abi import FUEL_PER_BYTE, FUEL_PER_CALL, FUNCTIONS
from bcai.bridge.wasm.ending import EndedError
from bcai.bridge.wasm.engine import compile_module, new_engine
from bcai.vm.isa.types import DType

# Reads input 0 (float32[n]) at 64, doubles each element, and gives it out as `y` with shape at 8.
DOUBLE = module_text(
    """(local $at i32) (local $end i32)
    (call $input_shape (i32.const 0) (i32.const 8))
    (call $input_read (i32.const 0) (i32.const 64))
    (local.set $at (i32.const 64))
    (local.set $end (i32.add (i32.const 64) (call $input_size (i32.const 0))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (f32.store (local.get $at) (f32.mul (f32.const 2) (f32.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next)))
    (call $output (i32.const 0) (i32.const 1) (call $input_dtype (i32.const 0))
      (call $input_rank (i32.const 0)) (i32.const 8) (i32.const 64))""",
    *("input_shape", "input_read", "input_size", "input_dtype", "input_rank", "output"),
    memory='(memory (export "memory") 1) (data (i32.const 0) "y")',
)
COUNT = """(local $i i32) (loop $next
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (i32.const 1000))))"""
FOR_EVER = "(loop $next (br $next))"


def test_tensors_go_in_and_come_out() -> None:
    x = np.arange(6, dtype=np.float32)
    done = run(DOUBLE, {"x": x})
    assert done.finished.ended is None
    np.testing.assert_array_equal(done.outputs["y"], 2 * x)
    assert done.outputs["y"].dtype == np.float32


def test_the_same_run_gives_the_same_bytes_and_the_same_fuel() -> None:
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    runs = [run(DOUBLE, {"x": x}) for _ in range(5)]
    assert len({done.outputs["y"].tobytes() for done in runs}) == 1
    assert len({done.fuel for done in runs}) == 1
    assert run(DOUBLE, {"x": x[1:]}).fuel < runs[0].fuel


def test_fuel_counts_instructions_host_calls_and_what_they_copy() -> None:
    assert 3000 < run(module_text(COUNT)).fuel < 20_000
    calls = module_text("(drop (call $input_count))", "input_count")
    assert FUEL_PER_CALL < run(calls).fuel < FUEL_PER_CALL + 10
    x = np.zeros(100, np.uint8)
    read = module_text("(call $input_read (i32.const 0) (i32.const 0))", "input_read")
    more = run(read, {"x": np.zeros(200, np.uint8)}).fuel
    assert more - run(read, {"x": x}).fuel == 100 * FUEL_PER_BYTE


def test_a_run_stops_exactly_where_its_fuel_ends() -> None:
    needed = run(module_text(COUNT)).fuel
    enough = dataclasses.replace(LIMITS, fuel=needed)
    assert run(module_text(COUNT), limits=enough).finished.ended is None
    short = dataclasses.replace(LIMITS, fuel=needed - 100)
    ended = run(module_text(COUNT), limits=short).ended
    assert ended.cause is Cause.FUEL
    assert f"limit of {needed - 100} units of fuel, in function main" in ended.message


def test_a_loop_of_host_calls_ends_by_fuel_too() -> None:
    body = "(loop $next (drop (call $input_count)) (br $next))"
    done = run(module_text(body, "input_count"))
    assert done.ended.cause is Cause.FUEL
    assert done.fuel == LIMITS.fuel


@pytest.mark.parametrize(
    "body", [FOR_EVER, "(loop $next (drop (call $input_count)) (br $next))"], ids=["bare", "calls"]
)
def test_an_infinite_loop_ends_at_the_wall_limit(body: str) -> None:
    limits = dataclasses.replace(LIMITS, fuel=1 << 60, wall_s=0.2)
    done = run(module_text(body, "input_count"), limits=limits)
    assert done.ended.cause is Cause.WALL_TIME
    assert "longer than its limit of" in done.ended.message


def test_a_trap_names_the_function_and_the_byte() -> None:
    text = module_text("(drop (i32.div_s (i32.const 1) (i32.const 0)))")
    ended = run(text).ended
    assert ended.cause is Cause.TRAP
    assert ended.message.startswith("the module trapped: integer divide by zero, in function main")
    at = int(ended.message.rpartition(" at byte ")[2], 16)
    assert to_bytes(text)[at] == 0x6D  # i32.div_s


def test_recursion_without_end_traps() -> None:
    ended = run(module_text("(call $main)")).ended
    assert ended.cause is Cause.TRAP
    assert "call stack exhausted" in ended.message


def test_memory_that_is_there_from_the_start_must_fit() -> None:
    fits = module_text("", memory='(memory (export "memory") 64)')
    assert run(fits).finished.use.memory_bytes == 4 * MIB
    ended = run(module_text("", memory='(memory (export "memory") 65)')).ended
    assert ended.cause is Cause.MEMORY
    assert "65 pages" in ended.message


def test_growing_is_refused_above_the_limit_and_a_full_memory_is_the_reason() -> None:
    grow = "(i32.ne (memory.grow (i32.const {})) (i32.const {}))"
    refused = module_text(f"(if {grow.format(64, -1)} (then unreachable))")
    assert run(refused).finished.ended is None
    until_full = "(loop $next (br_if $next (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
    ended = run(module_text(f"{until_full} unreachable")).ended
    assert ended.cause is Cause.MEMORY
    assert "filled its limit of 4.0 MiB" in ended.message
    most = module_text("(drop (memory.grow (i32.const 40))) unreachable")
    ended = run(most).ended
    assert ended.cause is Cause.TRAP
    assert "memory.grow beyond 4.0 MiB was refused" in ended.hint


def test_a_table_is_bounded() -> None:
    text = '(module (table {} funcref) (func (export "run")))'
    assert run(text.format(1 << 20)).finished.ended is None
    ended = run(text.format((1 << 20) + 1)).ended
    assert ended.cause is Cause.MEMORY
    assert "table" in ended.message
    grow = "(i32.ne (table.grow (ref.null func) (i32.const {})) (i32.const -1))"
    body = f'(module (table 0 funcref) (func (export "run") (if {grow} (then unreachable))))'
    assert run(body.format((1 << 20) + 1)).finished.ended is None
    assert run(body.format(1 << 20)).ended.cause is Cause.TRAP


def test_a_start_section_is_bounded_too() -> None:
    text = f'(module (func $go {FOR_EVER}) (start $go) (func (export "run")))'
    assert run(text).ended.cause is Cause.FUEL


def test_arithmetic_makes_one_nan_and_copies_keep_theirs() -> None:
    payload = np.frombuffer(struct.pack("<I", 0xFFC0_1234), np.float32)
    assert run(DOUBLE, {"x": payload}).outputs["y"].tobytes() == struct.pack("<I", 0x7FC0_0000)
    copy = DOUBLE.replace("(f32.mul (f32.const 2) (f32.load (local.get $at)))",
                          "(f32.load (local.get $at))")  # fmt: skip
    assert run(copy, {"x": payload}).outputs["y"].tobytes() == payload.tobytes()


def test_the_result_of_the_entry_is_the_exit_status() -> None:
    text = '(module (func (export "_start") (result i32) (i32.const 3)))'
    assert run(text).finished.exit_status == 3
    both = f'(module (func (export "run")) (func (export "_start") {FOR_EVER}))'
    assert run(both).finished.ended is None


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ('(import "wasi_snapshot_preview1" "fd_write" (func))', "wasi_snapshot_preview1.fd_write"),
        ('(import "bcai" "open" (func))', "bcai.open"),
        ('(import "env" "memory" (memory 1))', "env.memory"),
        ('(import "bcai" "log" (func (param i32)))', "as (i32) -> (); it is (i32, i32, i32) -> ()"),
        ('(import "bcai" "input_count" (global i32))', "as no function"),
    ],
)
def test_any_other_import_is_refused_by_name(field: str, what: str) -> None:
    ended = refusal(f'(module {field} (func (export "run")))')
    assert ended.cause is Cause.IMPORT_REFUSED
    assert what in ended.message


def test_every_host_function_can_be_imported() -> None:
    compile_module(new_engine(), to_bytes(module_text("", *FUNCTIONS)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(module)", "exports no function 'run' or '_start'; it exports nothing"),
        ('(module (func (export "main")))', "it exports main"),
        ('(module (func (export "run") (param i32)))', "'run' is (i32) -> (); expected () -> ()"),
        ('(module (global (export "run") i32 (i32.const 0)))', "'run' is no function"),
        (module_text("", "log", memory="(memory 1)"), "'bcai.log', which reaches into memory"),
    ],
)
def test_a_missing_export_is_named(text: str, message: str) -> None:
    ended = refusal(text)
    assert ended.cause is Cause.EXPORT_MISSING
    assert message in ended.message


def test_an_invalid_module_is_refused_with_the_place() -> None:
    good = to_bytes(module_text("nop"))
    compile_module(new_engine(), good)
    bad = {
        good[:20]: "offset 0x14",
        good.replace(b"\x01\x0b", b"\xfe\x0b"): "offset",
        b"(module)": "found WebAssembly text",
        good[:4] + b"\x0d\0\1\0": "version 0d000100",
        b"": "found b''",
    }
    for content, message in bad.items():
        with pytest.raises(EndedError, match=message) as caught:
            compile_module(new_engine(), content)
        assert caught.value.cause is Cause.MODULE_INVALID


@pytest.mark.parametrize(
    "text",
    [
        '(module (memory (export "memory") i64 1) (func (export "run")))',
        '(module (memory (export "memory") 1 2 shared) (func (export "run")))',
        '(module (memory 1) (memory 1) (func (export "run")))',
        '(module (tag) (func (export "run") (throw 0)))',
        '(module (type (struct)) (func (export "run")))',
    ],
)
def test_what_would_make_runs_differ_or_unbounded_is_no_valid_module(text: str) -> None:
    assert refusal(text).cause is Cause.MODULE_INVALID


def test_a_compiled_module_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def compiled() -> list[Path]:
        files = (folder / "compiled" / "modules").rglob("*")
        return [file for file in files if file.is_file() and not file.suffix]

    for _ in range(2):
        compile_module(new_engine(folder), to_bytes(module_text("nop")))
    assert len(compiled()) == 1
    compile_module(new_engine(folder), to_bytes(module_text("nop nop")))
    assert len(compiled()) == 2


def test_the_engine_cleans_its_cache_and_not_our_settings(tmp_path: Path) -> None:
    new_engine(tmp_path / "cache")
    settings = tmp_path / "cache" / "cache.toml"
    cleaned = tomllib.loads(settings.read_text())["cache"]["directory"]
    assert not settings.is_relative_to(cleaned)


def test_element_types_are_those_of_the_instruction_set() -> None:
    body = """(call $input_read (i32.const 0) (i32.const 64))
        (call $output (i32.const 0) (i32.const 1) (call $input_dtype (i32.const 0)) (i32.const 0)
          (i32.const 0) (i32.const 64))"""
    text = module_text(body, "input_read", "input_dtype", "output",
                       memory='(memory (export "memory") 1) (data (i32.const 0) "y")')  # fmt: skip
    for dtype in DType:
        x = np.ones((), dtype.numpy)
        assert run(text, {"x": x}).outputs["y"].dtype == dtype.numpy
