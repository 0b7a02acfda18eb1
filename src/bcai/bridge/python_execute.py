"""Runs the Python code of a program in the jail: the `PythonRunner` that a node hands to the VM.

Inputs go in as `.npy` files of the data folder, outputs come back through `bcai.output`. Every
sandbox level gets the same jail: no code runs with less around it than it asks for.
"""

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bcai.base.errors import (
    BcaiError,
    FormatError,
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
    RefusedError,
    ResourceError,
)
from bcai.base.values import decode_value
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
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.types import Array, DType, TensorType

Launch = Callable[[JailRequest, OnEvent, threading.Event], JailExit]

ENTRY, CODE = "python_execute.py", "code_of_the_program.py"
# Names with an underscore are no outputs of the job; the user's code has a namespace of its own,
# and its own file, so that its lines have their own numbers in a traceback.
_ENTRY_TEXT = """\
import bcai as _bcai
import numpy as _np

_types = {types!r}
_inputs = [_np.load(f"input{{_i}}.npy", allow_pickle=False) for _i in range(len(_types))]
for _i, _type in enumerate(_types):
    if _type == "bfloat16":
        import ml_dtypes as _ml
        _inputs[_i] = _inputs[_i].view(_ml.bfloat16)
_scope = {{"__name__": "__main__", "inputs": _inputs}}
with open({code!r}, encoding="utf-8") as _file:
    _text = _file.read()
exec(compile(_text, "/job/" + {code!r}, "exec"), _scope)
for _name in {names!r}:
    if _name in _scope:
        _value = _scope[_name]
        if isinstance(_value, _np.ndarray) and _value.dtype.name == "bfloat16":
            _value = _value.view(_np.uint16)
        _bcai.output(_name, _value)
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
    """

    limits: JailLimits
    on_event: OnEvent = _ignore
    cancelled: threading.Event = field(default_factory=threading.Event)
    launch: Launch = launch

    def __call__(self, code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Run code on its inputs and return the outputs that it declares and has left.

        Raises
        ------
        JobError
            The code failed, took too long, or was cancelled.
        RefusedError
            It asks for a GPU, which this jail has not, or no jail can be built here.
        ResourceError
            The jail itself failed.
        """
        if code.gpu:
            raise RefusedError("PythonExecute: the jail has no GPU", hint="ask for gpu=False")
        with tempfile.TemporaryDirectory(prefix="bcai-python-") as folder:
            project, data = Path(folder) / "project", Path(folder) / "data"
            _write_project(project, code, inputs)
            _write_inputs(data, inputs)
            request = JailRequest(project, ENTRY, data if inputs else None, (), self.limits)
            ended = self.launch(request, self.on_event, self.cancelled)
        if ended.cause is not Cause.EXITED or ended.exit_status not in (0, None):
            raise _failure(ended)
        return _outputs(code, ended)


def _write_project(project: Path, code: PythonCode, inputs: Sequence[Array]) -> None:
    project.mkdir()
    types = [DType.of(each.dtype).name for each in inputs]
    entry = _ENTRY_TEXT.format(types=types, code=CODE, names=list(code.outputs))
    (project / ENTRY).write_text(entry, "utf-8")
    (project / CODE).write_text(code.code, "utf-8")


def _write_inputs(data: Path, inputs: Sequence[Array]) -> None:
    data.mkdir()
    for index, array in enumerate(inputs):
        is_bfloat16 = DType.of(array.dtype) is DType.bfloat16
        plain = array.view(np.uint16) if is_bfloat16 else array
        np.save(data / f"input{index}.npy", plain, allow_pickle=False)


def _failure(ended: JailExit) -> BcaiError:
    message = f"PythonExecute: {ended.message}"
    if ended.cause is Cause.CANCELLED:
        return JobCancelledError(message)
    if ended.cause is Cause.WALL_TIME:
        return JobTimedOutError(message, hint=ended.hint)
    if ended.cause is Cause.JAIL_ERROR:
        return ResourceError(message, hint=ended.hint)
    return JobFailedError(message, hint=ended.hint)


def _outputs(code: PythonCode, ended: JailExit) -> dict[str, Array]:
    """Turn what came back into arrays; the interpreter checks them against the declaration."""
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
    from safetensors.numpy import load

    array: Array = load(output.content)["value"]
    is_bfloat16 = declared.dtype is DType.bfloat16 and array.dtype == np.uint16
    return array.view(declared.dtype.numpy) if is_bfloat16 else array
