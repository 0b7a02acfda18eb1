"""Python inside a Program, through a network and on the command line: one result everywhere."""

import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bcai import SDK, JobFailedError, JobTimedOutError
from bcai.base.errors import RefusedError
from bcai.bridge.python_execute import JailPython
from bcai.bridge.sandbox.jail import JailLimits
from bcai.bridge.sandbox.probe import probe_jail
from bcai.cluster.gateway.inspection import PROGRAM_BYTES_MAX
from bcai.vm import EnhancedVM
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program
from bcai.vm.program.program import Program, VerifiedProgram

pytestmark = pytest.mark.usefixtures("jail_of_namespaces")

TYPES = "y: float32[2,3], n: int64[], h: bfloat16[2]"
CODE = """\
import bcai
import numpy as np
x, h = inputs
print("in the jail, with", x.dtype, h.dtype)
bcai.log(step=1, largest=float(x.max()))
y = np.exp(x) / 3
n = int(x.size)
h = h + h
"""
LIMITS = JailLimits(
    wall_s=120.0, memory_bytes=2 << 30, log_bytes=1 << 20, output_bytes=16 << 20,
    disk_bytes=16 << 20, processes=64,
)  # fmt: skip


def between(
    code: str = CODE, outputs: str = TYPES, *, sandbox: str = "high", gpu: bool = False
) -> VerifiedProgram:
    """Code between an addition and a product, both of the instruction set."""
    build = Builder()
    x, h = build.input("x", "float32[2,3]"), build.input("h", "bfloat16[2]")
    attributes = {"code": code, "outputs": outputs, "sandbox": sandbox, "gpu": gpu}
    results = build.emit("PythonExecute", (x + 1.0, h), attributes)
    named = {f"out{place}": each for place, each in enumerate(results)}
    return build.finish(z=results[0] * 2.0, **named)


def inputs() -> dict[str, Array]:
    return {
        "x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        "h": np.array([1.5, -2], ml_dtypes.bfloat16),
    }


def here(backend: str) -> dict[str, Array]:
    machine = EnhancedVM(hardware_backend=backend, python=JailPython(LIMITS))
    return dict(machine.run(between(), inputs()).outputs)


def test_the_network_gives_the_bits_of_this_process(client: SDK) -> None:
    reference, native = here("reference"), here("auto")
    job = client.create_program_job(between(), inputs())
    result = job.execute()
    assert result.status == "SUCCEEDED"
    for name, array in reference.items():
        assert native[name].tobytes() == array.tobytes()
        found = np.asarray(result.outputs[name])
        assert found.astype(array.dtype).tobytes() == array.tobytes()
    assert result.logs == "in the jail, with float32 bfloat16\n"
    assert result.metrics[0]["largest"] == 2.0
    assert result.jail is not None
    assert result.jail.level == "program"
    assert result.jail.layers[0] == "verified program around Python code"
    level = probe_jail().level
    assert any(
        each.startswith(f"Python code in a jail of level {level}: ") for each in result.jail.layers
    )
    assert result.receipt is not None
    signed = result.receipt.commitment.jail_layers
    assert not any("no code of the user's" in each for each in signed)
    assert signed[-1].startswith(f"Python code in a jail of level {level}: ")
    assert result.usage is not None
    assert result.usage.cpu_s > 0


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (between("a = 1\nb = a / 0\n"), "PythonExecute: ZeroDivisionError: .*, line 2"),
        (between("y = 1\nn = 2\nh = 3"), r"left 'y' as float32\[\], expected float32\[2,3\]"),
        (between("y = inputs[0]\nn = 1"), r"the code left no 'h' \(bfloat16\[2\]\)"),
        (between("y = b'x'"), "output 'y': found a file, expected an array"),
        (between("import sys\nsys.exit(3)"), "PythonExecute: exited with status 3"),
        (between("x = bytearray(8 << 30)"), "needed more memory than its limit"),
    ],
)
def test_what_goes_wrong_is_the_jobs_reason(
    client: SDK, program: VerifiedProgram, says: str
) -> None:
    with pytest.raises(JobFailedError, match=says):
        client.submit_program(program, inputs())


HOSTILE = "y = inputs[0]\nimport subprocess\nsubprocess.run(['id'])"
PICKLE = "import pickle\nn, h = 6, inputs[1]\ny = pickle.loads(pickle.dumps(inputs[0]))"


def test_code_that_is_certain_to_fail_is_refused_by_the_client_the_gateway_and_the_node(
    client: SDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError, match=r"PythonExecute@2:3:1: subprocess.run starts another"):
        client.submit_program(between(HOSTILE), inputs())

    def look_away(program: Program) -> None:
        del program

    monkeypatch.setattr("bcai.sdk.program.refuse_certain_code", look_away)
    with pytest.raises(RefusedError, match="every node refuses it, so it was not accepted"):
        client.submit_program(between(HOSTILE), inputs())
    long = f"{HOSTILE}\n#{' ' * PROGRAM_BYTES_MAX}"  # more than the gateway reads
    result = client.create_program_job(between(long), inputs()).execute(check=False)
    assert result.reason is not None
    assert result.reason.code == "policy.inspection"
    assert "(PythonExecute@2, line 3)" in result.reason.message
    assert result.job.outcome is not None
    assert result.job.outcome.audit is not None
    assert result.job.outcome.audit.counts["refused"] == 1
    assert result.logs == ""


def test_what_was_found_in_the_code_is_on_record(client: SDK) -> None:
    outcome = client.create_program_job(between(PICKLE), inputs()).execute().job.outcome
    assert outcome is not None
    assert outcome.audit is not None
    assert outcome.audit.files == 1
    (found,) = outcome.audit.findings
    assert (found.place, found.rule.partition(".")[0]) == ("PythonExecute@2:3:5", "pickle")


def test_the_receipt_claims_what_the_code_used_too(client: SDK) -> None:
    busy = "import time\nwhile time.process_time() < 2: pass\n" + CODE
    result = client.submit_program(between(busy), inputs())
    assert result.receipt is not None
    assert result.usage is not None
    claim = result.receipt.commitment.usage
    assert claim.cpu_s > 2
    assert result.usage.cpu_s > 2


def test_ones_own_network_trusts_ones_own_code(client: SDK) -> None:
    assert client.submit_program(between(sandbox="trusted"), inputs()).status == "SUCCEEDED"


def test_a_gpu_is_asked_for_where_the_job_is_placed(client: SDK) -> None:
    result = client.submit_program(between(gpu=True), inputs())
    assert any("GPU" in each for each in result.warnings)  # the embedded network falls back, aloud


def test_the_time_limit_and_cancelling_reach_the_jail(client: SDK) -> None:
    forever = between("print('up', flush=True)\nwhile True: pass")
    with pytest.raises(JobTimedOutError, match=r"ran longer than its limit of 3\.0 s"):
        client.submit_program(forever, inputs(), timeout=3)
    job = client.create_program_job(forever, inputs()).submit()
    lines = job.stream_logs()
    assert next(lines) == "up"
    began = time.monotonic()
    job.cancel()
    assert job.wait(check=False).status == "CANCELLED"
    assert time.monotonic() - began < 60


def test_a_python_job_reads_the_tensors_it_is_given(client: SDK) -> None:
    code = (
        "import bcai\n"
        "x = bcai.input('x')\n"
        "total, kind = float(x.sum()), str(bcai.inputs['h'].dtype)\n"
        "x[0, 0] = 5\n"
    )
    for _ in range(2):  # cold, then perhaps warm
        result = client.create_job(code, inputs=inputs()).execute()
        assert (result.outputs["total"], result.outputs["kind"]) == (0.0, "bfloat16")
        assert result.outputs["x"][0, 0] == 5
    with pytest.raises(JobFailedError, match=r"no input 'y'; the job has .*'x'"):
        client.create_job("import bcai\nbcai.input('y')", inputs=inputs()).execute()


def test_the_command_line_runs_both(client: SDK, tmp_path: Path) -> None:
    client.connect()
    (tmp_path / "between.bcai").write_bytes(encode_program(between().program))
    (tmp_path / "sum.py").write_text("import bcai\nprint('sum', bcai.input('x').sum())\n")
    for name, array in inputs().items():
        np.save(tmp_path / f"{name}.npy", array)
    given = ("--input", "x=x.npy", "--input", "h=h.npy")

    def run(*tokens: str) -> str:
        command = [sys.executable, "-m", "bcai.cli", *tokens, *given]
        done = subprocess.run(
            command, cwd=tmp_path, check=True, timeout=120, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    assert "in the jail, with" in run("program", "run", "between.bcai", "--out", "one")
    run("run", "between.bcai", "--out", "other")
    one, other = (np.load(tmp_path / folder / "z.npy") for folder in ("one", "other"))
    assert one.tobytes() == other.tobytes()
    assert "sum 0.0" in run("run", "sum.py")
