"""A Program is a job: through gateway, node and verifier to named outputs."""

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bcai import SDK, InputError, JobFailedError, JobTimedOutError
from bcai.proof.check import check_receipt
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.text import print_program


def training_step() -> VerifiedProgram:
    """One step of gradient descent on a line."""
    build = Builder()
    x, y = build.input("x", "float32[8,3]"), build.input("y", "float32[8,1]")
    w = build.parameter("w", "float32[3,1]")
    error = x @ w - y
    loss = (error * error).sum() / 8.0
    (d_w,) = gradients(loss, [w])
    return build.finish(loss=loss, w=w - d_w * 0.1)


def test_a_training_step_runs_on_the_network(client: SDK) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 3)).astype(np.float32)
    y = x.sum(1, keepdims=True)
    w = np.zeros((3, 1), np.float32)
    result = client.submit_program(training_step(), {"x": x, "y": y, "w": w}, name="step")
    assert result.status == "SUCCEEDED"
    assert result.outputs["loss"] == pytest.approx(float((y**2).mean()), rel=1e-5)
    expected = w - 0.1 * (2 / 8) * x.T @ (x @ w - y)
    np.testing.assert_allclose(result.outputs["w"], expected, rtol=1e-5)
    assert result.jail is not None
    assert result.jail.level == "program"
    receipt = result.receipt
    assert receipt is not None
    assert receipt.commitment.job_id == result.job_id
    received = {name: np.asarray(result.outputs[name], np.float32) for name in ("loss", "w")}
    assert check_receipt(receipt, tensors=received).is_clean


def test_every_element_type_travels(client: SDK) -> None:
    build = Builder()
    arrays = {
        name: np.arange(4).astype(getattr(ml_dtypes, name, name))
        for name in ("float32", "float64", "float16", "bfloat16", "int8", "int64", "uint8", "bool")
    }
    symbols = {name: build.input(name, f"{name}[4]") for name in arrays}
    program = build.finish(**{name: each.emit("Copy") for name, each in symbols.items()})
    result = client.submit_program(program, arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(
            np.asarray(result.outputs[name], np.float64), array.astype(np.float64)
        )


def test_a_wrong_input_is_refused_before_anything_is_sent(client: SDK) -> None:
    with pytest.raises(InputError, match=r"input 'x': found float64\[2\], expected float32\[8,3\]"):
        client.submit_program(training_step(), {"x": np.zeros(2)})


def test_an_error_while_it_runs_is_the_jobs_reason(client: SDK) -> None:
    build = Builder()
    x, at = build.input("x", "float32[4]"), build.input("at", "int64[1]")
    program = build.finish(y=x.emit("Gather", at, axis=0))
    inputs = {"x": np.zeros(4, np.float32), "at": np.asarray([9])}
    with pytest.raises(JobFailedError, match="Gather: index 9 is outside an axis of size 4"):
        client.submit_program(program, inputs)


def test_a_program_over_its_memory_limit_does_not_start(client: SDK) -> None:
    build = Builder()
    x = build.input("x", "float32[4]")
    wide = x.reshape(4, 1).expand(4, 64 << 20) + 1.0
    program = build.finish(y=wide.sum())
    with pytest.raises(JobFailedError, match=r"needs 2.0 GiB of memory; its limit is 61"):
        client.submit_program(program, {"x": np.zeros(4, np.float32)}, limits={"memory": "64MB"})


def test_a_program_over_its_time_limit_is_ended(client: SDK) -> None:
    build = Builder()
    x: Symbol = build.input("x", "float32[1024,1024]")
    for _ in range(2000):  # 4 * 10^12 multiplications and additions
        x = x @ x
    with pytest.raises(JobTimedOutError, match="limit of 1"):
        client.submit_program(
            build.finish(y=x), {"x": np.ones((1024, 1024), np.float32)}, timeout=1.0
        )


@pytest.mark.parametrize("suffix", [".bcai", ".bcaiasm"])
def test_the_command_line_runs_bytes_and_assembly(client: SDK, tmp_path: Path, suffix: str) -> None:
    client.connect()
    build = Builder()
    x = build.input("x", "float32[2,2]")
    verified = build.finish(y=x + x, total=x.sum())
    source = tmp_path / f"double{suffix}"
    if suffix == ".bcai":
        source.write_bytes(encode_program(verified.program))
    else:
        source.write_text(print_program(verified))
    np.save(tmp_path / "x.npy", np.ones((2, 2), np.float32))
    command = [sys.executable, "-m", "bcai.cli", "run", source.name, "--input", "x=x.npy"]
    subprocess.run([*command, "--out", "out"], cwd=tmp_path, check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), np.full((2, 2), 2.0))
    assert '"total": 4.0' in (tmp_path / "out" / "outputs.json").read_text()
