"""A WebAssembly module is a job: through gateway and node to named outputs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from bcai import SDK, JobFailedError, JobTimedOutError
from bcai.base.errors import FormatError
from bcai.jobs.outcome import ReasonCode

SOURCE = Path(__file__).parents[2] / "examples" / "scale.wat"
X = np.asarray([[1.0, 2.0], [3.0, 4.0]], np.float32)


def module(text: str | None = None) -> bytes:
    return bytes(wasmtime.wat2wasm(SOURCE.read_text() if text is None else text))


def test_a_module_runs_on_the_network_to_the_same_end_every_time(client: SDK) -> None:
    results = [client.submit_wasm(module(), {"x": X}, name="scale") for _ in range(2)]
    for result in results:
        assert result.status == "SUCCEEDED"
        np.testing.assert_array_equal(result.outputs["y"], X / 4)
        assert result.logs == "scaled\n"
        assert result.jail is not None
        assert result.jail.level == "wasm"
    assert results[0].usage.fuel == results[1].usage.fuel > 1000


def test_each_way_to_end_has_its_own_reason(client: SDK) -> None:
    loop = module('(module (func (export "run") (loop $next (br $next))))')
    failures = {
        "user.trap": (module('(module (func $go (export "run") unreachable))'), "in function go"),
        "limit.fuel": (loop, "limit of 1000 units of fuel"),
        "limit.memory": (
            module('(module (memory 1025) (func (export "run")))'),
            "limit of 64.0 MiB of memory",
        ),
        "user.missing_export": (module("(module)"), "exports no function 'run'"),
        "user.invalid_module": (module()[:200], "not a valid WebAssembly module"),
        "policy.module_import": (
            module(
                '(module (import "wasi_snapshot_preview1" "fd_write" (func)) (func (export "run")))'
            ),
            "imports 'wasi_snapshot_preview1.fd_write'",
        ),
    }
    for code, (content, message) in failures.items():
        limits = {"memory": "64MiB"} | ({"fuel": 1000} if code == "limit.fuel" else {})
        with pytest.raises(JobFailedError, match=message) as caught:
            client.submit_wasm(content, limits=limits)
        assert caught.value.result.reason.code is ReasonCode(code)
    with pytest.raises(JobTimedOutError, match="limit of 1"):
        client.submit_wasm(loop, timeout=1.0)
    with pytest.raises(FormatError, match="found WebAssembly text"):
        client.submit_wasm(SOURCE)


def test_the_command_line_sends_a_module_and_saves_its_outputs(client: SDK, tmp_path: Path) -> None:
    client.connect()
    (tmp_path / "scale.wasm").write_bytes(module())
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-m", "bcai.cli", "run", "scale.wasm", "--input", "x=x.npy"]
    done = subprocess.run(
        [*command, "--out", "out", "--json"],
        cwd=tmp_path,
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), X / 4)
    fuel = json.loads(done.stdout)["usage"]["fuel"]
    assert fuel > 1000
    short = subprocess.run(
        [*command, "--fuel", str(fuel - 100)],
        cwd=tmp_path,
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert short.returncode == 1
    assert f"limit of {fuel - 100} units of fuel" in short.stderr
