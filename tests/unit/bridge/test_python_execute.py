"""Python code of a program, in a real jail where there is one, and against a stand-in for it."""

import fcntl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from bcai.base.errors import (
    BcaiError,
    InputError,
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
    RefusedError,
    ResourceError,
)
from bcai.bridge.python_execute import CODE, JailPython
from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.bridge.sandbox.jail import Cause, JailExit, JailLimits, JailOutput, JailRequest, OnEvent
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.tensor_views import arrays_of, map_file
from bcai.vm import EnhancedVM, MLInstruction, TensorId
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.types import Array, parse_type

LIMITS = JailLimits(
    wall_s=120.0, memory_bytes=2 << 30, log_bytes=1 << 20, output_bytes=16 << 20,
    disk_bytes=16 << 20, processes=64,
)  # fmt: skip
ONES = np.ones(2, np.float32)


def code(text: str = "", *, gpu: bool = False, **outputs: str) -> PythonCode:
    types = {name: parse_type(type_) for name, type_ in outputs.items()}
    return PythonCode(text, types, "high", gpu)


@dataclass
class Ending:
    """A launcher that runs nothing and ends as it is told."""

    ended: JailExit
    request: JailRequest | None = None
    files: Mapping[str, bytes] | None = None
    inputs: Mapping[str, Array] | None = None
    seals: int = 0

    def __call__(
        self, request: JailRequest, on_event: OnEvent, cancelled: threading.Event
    ) -> JailExit:
        self.request = request
        self.files = {each.name: each.read_bytes() for each in request.project.iterdir()}
        assert request.inputs is not None
        self.inputs = arrays_of(map_file(request.inputs))
        self.seals = fcntl.fcntl(request.inputs, fcntl.F_GET_SEALS)
        return self.ended


def ends(cause: Cause = Cause.EXITED, *outputs: JailOutput) -> Ending:
    status = 0 if cause is Cause.EXITED else 1
    return Ending(JailExit(cause, "said", JailReport("B"), "do", status, outputs=outputs))


def answer(output: JailOutput, declared: str) -> Array:
    runner = JailPython(LIMITS, launch=ends(Cause.EXITED, output))
    return runner(code("", y=declared), [ONES])["y"]


def test_code_goes_in_as_a_file_and_inputs_in_sealed_memory() -> None:
    launcher = ends()
    half = np.array([1, 2], ml_dtypes.bfloat16)
    JailPython(LIMITS, launch=launcher, tenant="ada")(
        code("y = 1\n", y="float32[]"), [ONES, half, np.asarray(3)]
    )
    assert launcher.request is not None
    assert launcher.files is not None
    assert launcher.request.limits == LIMITS
    assert launcher.request.tenant == "ada"
    assert launcher.request.security_level == "high"
    assert launcher.files[CODE] == b"y = 1\n"
    assert launcher.files.keys() == {CODE, launcher.request.entry}
    assert launcher.inputs is not None
    types = [str(each.dtype) for each in launcher.inputs.values()]
    assert types == ["float32", "bfloat16", "int64"]
    assert launcher.inputs["1"].tolist() == [1, 2]
    assert launcher.inputs["2"].shape == ()
    assert launcher.seals & fcntl.F_SEAL_WRITE
    assert launcher.seals & fcntl.F_SEAL_GROW
    assert launcher.seals & fcntl.F_SEAL_SHRINK
    assert not launcher.request.project.exists()
    JailPython(LIMITS, launch=launcher)(code("y = 1\n"), [])
    assert launcher.inputs == {}


def test_outputs_come_back_as_arrays() -> None:
    content = save({"value": ONES})
    assert answer(JailOutput("y", "array", content=content), "float32[2]").tolist() == [1, 1]
    whole = answer(JailOutput("y", "value", 3), "float32[]")
    assert (whole.dtype, whole.shape, whole.item()) == (np.float32, (), 3)
    assert np.isnan(answer(JailOutput("y", "value", {"$number": "nan"}), "float64[]"))
    assert answer(JailOutput("y", "value", True), "bool[]").dtype == np.bool_
    bits = save({"value": np.array([1, 2], ml_dtypes.bfloat16)})
    assert answer(JailOutput("y", "array", content=bits), "bfloat16[2]").tolist() == [1, 2]
    unasked = JailPython(LIMITS, launch=ends(Cause.EXITED, JailOutput("z", "value", 1)))
    assert unasked(code("", y="float32[]"), []) == {}


@pytest.mark.parametrize(
    ("output", "declared", "message"),
    [
        (JailOutput("y", "value", 1.5), "int64[]", "found 1.5, expected int64"),
        (JailOutput("y", "value", 300), "uint8[]", "300"),
        (JailOutput("y", "value", "text"), "float32[]", "found str, expected an array"),
        (JailOutput("y", "value", [1.0]), "float32[1]", "found list, expected an array"),
        (JailOutput("y", "file", content=b""), "float32[1]", "found a file, expected an array"),
    ],
)
def test_what_is_no_tensor_is_refused(output: JailOutput, declared: str, message: str) -> None:
    with pytest.raises(JobFailedError, match=message) as caught:
        answer(output, declared)
    assert declared in caught.value.hint


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause.EXCEPTION, JobFailedError),
        (Cause.MEMORY, JobFailedError),
        (Cause.WALL_TIME, JobTimedOutError),
        (Cause.CANCELLED, JobCancelledError),
        (Cause.JAIL_ERROR, ResourceError),
    ],
)
def test_a_bad_end_is_told(cause: Cause, kind: type[BcaiError]) -> None:
    with pytest.raises(kind, match="PythonExecute: said"):
        JailPython(LIMITS, launch=ends(cause))(code(""), [])


def test_a_gpu_is_refused() -> None:
    with pytest.raises(RefusedError, match="the jail has no GPU"):
        JailPython(LIMITS, launch=ends())(code("", gpu=True), [])


def test_code_that_asks_for_a_gpu_is_given_the_jobs_and_other_code_none() -> None:
    launcher = ends()
    python = JailPython(LIMITS, launch=launcher, gpus=(GpuDevice(1),))
    for wanted, given in ((True, (GpuDevice(1),)), (False, ())):
        python(code("", gpu=wanted), [])
        assert launcher.request is not None
        assert launcher.request.gpus == given
        assert launcher.request.limits.gpu_count == len(given)


def test_trust_is_the_owners_to_give() -> None:
    trusted = replace(code("y = 1"), sandbox="trusted")
    with pytest.raises(RefusedError, match="sandbox='trusted' is for the own code"):
        JailPython(LIMITS, launch=ends())(trusted, [])
    launcher = ends()
    JailPython(LIMITS, launch=launcher, trusts=True)(trusted, [])
    assert launcher.request is not None
    assert launcher.request.security_level == "trusted"


@pytest.fixture
def machine() -> EnhancedVM:
    probed = probe_jail()
    if probed.level == "none":
        pytest.skip(f"no jail can be built here; it needs: {'; '.join(probed.missing)}")
    return EnhancedVM(python=JailPython(LIMITS))


def test_code_runs_in_a_real_jail_between_instructions(machine: EnhancedVM) -> None:
    text = (
        "from __future__ import annotations\n"
        "import numpy as np\n"
        "x, n, h = inputs\n"
        "y = x * 2 + n\n"
        "total = float(y.sum())\n"
        "half = h + h\n"
        "unasked = 3\n"
    )
    result = machine.execute_program(
        [
            MLInstruction.PythonExecute(
                code=text,
                inputs=[1, 2, 3],
                outputs={4: "y: float32[2,2]", 5: "total: float64[]", 6: "half: bfloat16[2]"},
            ),
            MLInstruction.Neg(x=4, output=7),
        ],
        inputs={
            1: np.eye(2, dtype=np.float32),
            2: np.asarray(1, np.float32),
            3: np.array([1, 2], ml_dtypes.bfloat16),
        },
    )
    assert result.outputs[TensorId(7)].tolist() == [[-3, -1], [-1, -3]]
    assert result.outputs[TensorId(5)] == 8
    assert result.outputs[TensorId(6)].tolist() == [2, 4]


def test_what_the_code_does_wrong_is_told_with_its_line(machine: EnhancedVM) -> None:
    broken = MLInstruction.PythonExecute(code="a = 1\nb = a / 0\n")
    with pytest.raises(JobFailedError, match=r"division by zero .*line 2"):
        machine.execute_program([broken])
    missing = MLInstruction.PythonExecute(code="z = 1", outputs={1: "y: float32[]"})
    with pytest.raises(InputError, match="the code left no 'y'"):
        machine.execute_program([missing])
    other = MLInstruction.PythonExecute(
        code="import numpy as np\ny = np.zeros(3)", outputs={1: "y: float32[2]"}
    )
    with pytest.raises(InputError, match=r"left 'y' as float64\[3\], expected float32\[2\]"):
        machine.execute_program([other])
