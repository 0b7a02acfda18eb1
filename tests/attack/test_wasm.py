"""A WebAssembly module in its own process: whatever it does, the node says how it ended."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import wasmtime
from safetensors.numpy import load, save

from bcai.base.units import MIB
from bcai.bridge.sandbox.jail import (
    Cause,
    JailEvent,
    JailExit,
    JailLimits,
    JailRequest,
    LogText,
    Started,
)
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node import run_wasm
from bcai.cluster.node.run_wasm import launch_wasm

FOR_EVER = '(module (func (export "run") (loop $next (br $next))))'
SAY = r"""(module (import "bcai" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1) (data (i32.const 0) "on\n the way")
  (func (export "run") {}))"""
TALK = "(call $log (i32.const 1) (i32.const 0) (i32.const 11))"


class Bench:
    """Runs modules, each in a folder of its own, and keeps what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[JailEvent] = []
        self.cancelled = threading.Event()
        self.count = 0

    def run(
        self,
        module: str | bytes,
        *,
        wall_s: float = 30.0,
        memory_bytes: int = 64 * MIB,
        fuel: int | None = None,
        required_outputs: tuple[str, ...] = (),
        **inputs: np.ndarray,
    ) -> JailExit:
        self.count += 1
        place = self.folder / f"job{self.count}"
        for name in ("project", "data"):
            (place / name).mkdir(parents=True)
        content = bytes(wasmtime.wat2wasm(module)) if isinstance(module, str) else module
        (place / "project" / "module.wasm").write_bytes(content)
        if inputs:
            (place / "data" / "inputs.safetensors").write_bytes(save(inputs))
        request = JailRequest(
            place / "project",
            "module.wasm",
            place / "data",
            (),
            JailLimits(wall_s, memory_bytes, MIB, MIB, MIB, 16),
            required_outputs,
        )
        return launch_wasm(request, self.events.append, self.cancelled, fuel=fuel)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_text_tensors_and_use_come_back(bench: Bench) -> None:
    text = (Path(__file__).parents[2] / "examples" / "scale.wat").read_text()
    ended = bench.run(text, x=np.asarray([1.0, 2.0, 4.0], np.float32))
    assert ended.cause is Cause.EXITED, ended.message
    (y,) = ended.outputs
    assert y.content is not None
    np.testing.assert_allclose(load(y.content)["value"], [0.25, 0.5, 1.0])
    assert y.summary == "float32[3]"
    assert ended.fuel > 1000
    assert ended.memory_bytes_peak == 64 * 1024
    assert ended.jail.level == "wasm"
    assert isinstance(bench.events[0], Started)


def test_two_runs_use_the_same_fuel_and_give_the_same_bytes(bench: Bench) -> None:
    text = (Path(__file__).parents[2] / "examples" / "scale.wat").read_text()
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)
    first, second = (bench.run(text, x=x) for _ in range(2))
    assert first.fuel == second.fuel > 0
    assert [each.content for each in first.outputs] == [each.content for each in second.outputs]


def test_text_is_told_while_it_runs_and_up_to_the_end(bench: Bench) -> None:
    without_end_of_line = "(call $log (i32.const 1) (i32.const 3) (i32.const 8))"
    ended = bench.run(SAY.format(TALK + without_end_of_line))
    assert ended.cause is Cause.EXITED
    said = "".join(event.text for event in bench.events if isinstance(event, LogText))
    assert said == "on\n the way the way"
    assert ended.log_bytes == 19


def test_what_was_said_before_a_trap_is_kept(bench: Bench) -> None:
    ended = bench.run(SAY.format(TALK + " unreachable"))
    assert ended.cause is Cause.TRAP
    assert any(isinstance(event, LogText) for event in bench.events)
    assert ended.fuel > 0


def test_a_module_that_prints_for_ever_is_stopped(bench: Bench) -> None:
    ended = bench.run(SAY.format(f"(loop $next {TALK} (br $next))"))
    assert ended.cause is Cause.LOG_BYTES
    assert "more than its limit of 1.0 MiB" in ended.message


def test_an_infinite_loop_ends_at_its_fuel_or_its_time(bench: Bench) -> None:
    out_of_fuel = bench.run(FOR_EVER, fuel=1_000_000)
    assert out_of_fuel.cause is Cause.FUEL
    assert out_of_fuel.fuel == 1_000_000
    ended = bench.run(FOR_EVER, wall_s=1.5)
    assert ended.cause is Cause.WALL_TIME
    assert "longer than its limit of 1.5 s" in ended.message
    assert "in function number 0" in ended.message  # its worker told: it was stopped, not killed
    assert ended.wall_s < 5


def test_a_running_module_is_cancelled(bench: Bench) -> None:
    threading.Timer(1.5, bench.cancelled.set).start()
    started = time.monotonic()
    assert bench.run(FOR_EVER).cause is Cause.CANCELLED
    assert time.monotonic() - started < 10


def test_nothing_has_started_when_a_module_is_refused(bench: Bench) -> None:
    wasi = '(module (import "wasi_snapshot_preview1" "fd_write" (func)) (func (export "run")))'
    refused = bench.run(wasi)
    assert refused.cause is Cause.IMPORT_REFUSED
    assert "wasi_snapshot_preview1.fd_write" in refused.message
    assert bench.run("(module)").cause is Cause.EXPORT_MISSING
    assert bench.run(b"(module)").cause is Cause.MODULE_INVALID
    assert bench.events == []


def test_compilation_counts_against_the_wall_limit(bench: Bench) -> None:
    body = "(drop (i32.const 1))" * 3
    many = "".join(f"(func {body})" for _ in range(100_000))
    ended = bench.run(f'(module {many} (func (export "run")))', wall_s=0.5)
    assert ended.cause is Cause.WALL_TIME
    assert bench.events == []


def test_a_compiler_without_memory_is_no_fault_of_the_node(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "the module's process ended with status -6"
    for said, cause in (
        (f"{told}: memory allocation of 65536 bytes failed", Cause.MEMORY),
        (told, Cause.JAIL_ERROR),
    ):
        ended = JailExit(Cause.JAIL_ERROR, said, JailReport("wasm"))
        monkeypatch.setattr(run_wasm, "run_worker", Mock(return_value=ended))
        assert bench.run(FOR_EVER).cause is cause


PROBE = """
import subprocess, socket, sys
from pathlib import Path
from bcai.bridge.wasm.walls import put_up_walls

folder, secret = Path(sys.argv[1]), Path(sys.argv[2])

def tries():
    for act in (
        lambda: secret.read_text(),
        lambda: secret.write_text("x"),
        lambda: subprocess.run(["/bin/true"], check=True),
        lambda: socket.socket(socket.AF_INET).close(),
        lambda: (folder / "mine").write_text("x"),
    ):
        try:
            act()
            yield "yes"
        except OSError:
            yield "no"

print(*tries())
layers = put_up_walls([folder])
print(*tries())
print(len(layers))
"""


def test_the_worker_stands_behind_walls_of_its_own(tmp_path: Path) -> None:
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("x")
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, str(folder), str(secret)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    before, after, layers = done.stdout.splitlines()
    if layers != "2":
        pytest.skip("this kernel has no Landlock or no seccomp; a newer one would lift this")
    assert before == "yes yes yes yes yes"
    assert after == "no no no no yes"


def test_the_walls_stand_on_the_result(bench: Bench) -> None:
    ended = bench.run('(module (func (export "run")))')
    assert any("computed by wasmtime" in layer for layer in ended.jail.layers)
    standing = " ".join(ended.jail.layers)
    assert ("seccomp" in standing) == Path("/proc/self/status").read_text().count("Seccomp:")


def test_an_exit_status_and_a_missing_output_are_told(bench: Bench) -> None:
    ended = bench.run('(module (func (export "run") (result i32) (i32.const 3)))')
    assert (ended.cause, ended.exit_status) == (Cause.EXITED, 3)
    assert "status 3" in ended.message
    missing = bench.run('(module (func (export "run")))', required_outputs=("y",))
    assert missing.cause is Cause.OUTPUT_MISSING
    assert "no output 'y'" in missing.message


def test_inputs_that_are_no_safetensors_are_the_jobs_fault(bench: Bench) -> None:
    place = bench.folder / "job1" / "data"
    place.mkdir(parents=True)
    (place / "inputs.safetensors").write_bytes(b"\xff" * 100)
    module = '(module (func (export "run")))'
    (bench.folder / "job1" / "project").mkdir()
    (bench.folder / "job1" / "project" / "module.wasm").write_bytes(wasmtime.wat2wasm(module))
    limits = JailLimits(30.0, 64 * MIB, MIB, MIB, MIB, 16)
    request = JailRequest(bench.folder / "job1" / "project", "module.wasm", place, (), limits)
    ended = launch_wasm(request, bench.events.append, bench.cancelled, fuel=None)
    assert ended.cause is Cause.EXCEPTION
    assert "the inputs cannot be read" in ended.message
