"""Runs the Python code of a program in the jail: the `PythonRunner` that a node hands to the VM.

Tensors go in through a sealed memory file, without a copy in the jail, and come back through the
file of outputs, copied and checked when the jail is gone.
"""

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bcai.base.errors import (
    BcaiError,
    FormatError,
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
    NoJailError,
    RefusedError,
    ResourceError,
)
from bcai.base.values import decode_value
from bcai.bridge.sandbox.environment import JobPython
from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.bridge.sandbox.inputs import sealed_tensors
from bcai.bridge.sandbox.jail import (
    Cause,
    JailEvent,
    JailExit,
    JailLimits,
    JailOutput,
    JailRequest,
    OnEvent,
)
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.level import JailReport, is_enough
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.tensor_views import arrays_of
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.types import Array, DType, TensorType

Launch = Callable[[JailRequest, OnEvent, threading.Event], JailExit]

ENTRY, CODE = "python_execute.py", "code_of_the_program.py"
# Names with an underscore are no outputs of the job; the user's code has a namespace of its own,
# and its own file, so that its lines have their own numbers in a traceback.
_ENTRY_TEXT = """\
import os as _os
import bcai as _bcai

_path = _os.path.abspath({code!r})
_inputs = [_bcai.inputs[str(_i)] for _i in range(len(_bcai.inputs))]
_scope = {{"__name__": "__main__", "inputs": _inputs}}
with open(_path, encoding="utf-8") as _file:
    _text = _file.read()
exec(compile(_text, _path, "exec"), _scope)
for _name in {names!r}:
    if _name in _scope:
        _bcai.output(_name, _scope[_name])
"""


def _ignore(event: JailEvent) -> None:
    del event


@dataclass(frozen=True, slots=True)
class JailPython:
    """Runs code in a jail of its own, one after the other.

    Attributes
    ----------
    limits
        What each `PythonExecute` may use.
    on_event
        Is told what the code prints, logs and reports.
    cancelled
        Set it to stop the code that runs.
    launch
        Puts up the jail; `sandbox.launcher.launch`.
    tenant, allowed_imports, python
        As in `JailRequest`.
    level_max
        The strongest jail that the machine's owner lets it build.
    trusts
        Whether code may ask for `sandbox="trusted"`: it is the machine owner's own.
    gpus
        Those of the job; code that asks for a GPU is given all of them, other code none.
    gpu_fallback
        Code that asks for a GPU runs without one if there is none.
    """

    limits: JailLimits
    on_event: OnEvent = _ignore
    cancelled: threading.Event = field(default_factory=threading.Event)
    launch: Launch = launch
    tenant: str = ""
    allowed_imports: tuple[str, ...] | None = None
    python: JobPython | None = None
    level_max: str = "A"
    trusts: bool = False
    gpus: tuple[GpuDevice, ...] = ()
    gpu_fallback: bool = False

    def __call__(self, code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Run code on its inputs and return the outputs that it declares and has left.

        Raises
        ------
        JobError
            The code failed, took too long, or was cancelled.
        RefusedError
            It asks for a GPU, for trust, or for a stronger jail than can be built here.
        ResourceError
            The jail itself failed.
        """
        self._refuse_wish(code.sandbox, code.gpu)
        with sealed_tensors(numbered(inputs)) as file:
            ended = self.run(code, file)
        if not has_succeeded(ended):
            raise _failure(ended)
        return outputs_of(code, ended)

    def refuse_unfit(self, sandbox: str, gpu: bool) -> JailReport:
        """Say which jail this machine builds for such code, before any of it runs.

        Raises
        ------
        RefusedError
            It asks for a GPU, for trust, or for a stronger jail than can be built (NoJailError).
        """
        self._refuse_wish(sandbox, gpu)
        probed = probe_jail(self.level_max, programs=sandbox != "high")
        if not is_enough(probed.level, sandbox):
            raise NoJailError(
                f"PythonExecute: this machine cannot build the jail that sandbox={sandbox!r} asks "
                f"for, only level {probed.level}: {'; '.join(probed.missing)}",
                hint="see `bcai doctor` and docs/security.md",
            )
        return probed

    def _refuse_wish(self, sandbox: str, gpu: bool) -> None:
        if gpu and not self.gpus and not self.gpu_fallback:
            raise RefusedError("PythonExecute: the jail has no GPU", hint="ask for gpu=False")
        if sandbox == "trusted" and not self.trusts:
            raise RefusedError(
                "PythonExecute: sandbox='trusted' is for the own code of a machine's owner",
                hint="ask for sandbox='standard'",
            )

    def run(self, code: PythonCode, inputs: int) -> JailExit:
        """Run code on the tensors of a sealed file, which are named by their numbers."""
        with tempfile.TemporaryDirectory(prefix="bcai-python-") as folder:
            project = Path(folder) / "project"
            _write_project(project, code)
            gpus = self.gpus if code.gpu else ()
            request = JailRequest(
                project,
                ENTRY,
                None,
                (),
                replace(self.limits, gpu_count=len(gpus)),
                tenant=self.tenant,
                allowed_imports=self.allowed_imports,
                python=self.python,
                inputs=inputs,
                security_level=code.sandbox,
                gpus=gpus,
            )
            return self.launch(request, self.on_event, self.cancelled)


def numbered(arrays: Sequence[Array]) -> dict[str, object]:
    """Inputs of some code as they are named in its file."""
    return {str(number): array for number, array in enumerate(arrays)}


def has_succeeded(ended: JailExit) -> bool:
    """Whether the code ran to its end."""
    return ended.cause is Cause.EXITED and ended.exit_status in (0, None)


def outputs_of(code: PythonCode, ended: JailExit) -> dict[str, Array]:
    """Turn what came back into arrays; the interpreter checks them against the declaration.

    Raises
    ------
    JobFailedError
        Something is no tensor.
    """
    found: dict[str, Array] = {}
    for output in ended.outputs:
        declared = code.outputs.get(output.name)
        if declared is None:
            continue
        try:
            found[output.name] = _array(output, declared)
        except (FormatError, ValueError, TypeError, OverflowError) as error:
            message = f"PythonExecute: output {output.name!r}: {error}"
            raise JobFailedError(message, hint=f"{declared} was declared") from error
    return found


def _write_project(project: Path, code: PythonCode) -> None:
    project.mkdir()
    entry = _ENTRY_TEXT.format(code=CODE, names=list(code.outputs))
    (project / ENTRY).write_text(entry, "utf-8")
    (project / CODE).write_text(code.code, "utf-8")


def _failure(ended: JailExit) -> BcaiError:
    message = f"PythonExecute: {ended.message}"
    if ended.cause is Cause.CANCELLED:
        return JobCancelledError(message)
    if ended.cause is Cause.WALL_TIME:
        return JobTimedOutError(message, hint=ended.hint)
    if ended.cause is Cause.JAIL_ERROR:
        return ResourceError(message, hint=ended.hint)
    return JobFailedError(message, hint=ended.hint)


def _array(output: JailOutput, declared: TensorType) -> Array:
    if output.kind == "value":
        value = decode_value(output.value)
        if isinstance(value, bool):
            return np.asarray(value)
        if isinstance(value, int | float) and declared.dtype is not DType.bool:
            if isinstance(value, float) and not declared.dtype.is_float:
                raise FormatError(f"found {value!r}, expected {declared.dtype.name}")
            return np.asarray(value, declared.dtype.numpy)
        raise FormatError(f"found {type(value).__name__}, expected an array or a number")
    if output.kind != "array" or output.content is None:
        raise FormatError(f"found a {output.kind}, expected an array or a number")
    return arrays_of(output.content)["value"]
