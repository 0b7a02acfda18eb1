"""A WebAssembly module as a job: sent as its bytes, with its inputs as safetensors."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from bcai.base.errors import FormatError, InputError, NotFoundError
from bcai.jobs.spec import JobKind, Mount
from bcai.sdk.draft import Draft, Quantity, checked_draft
from bcai.sdk.folder import LocalFile

ENTRY = "module.wasm"
INPUTS = "inputs.safetensors"


def draft_wasm(
    module: bytes | str | PathLike[str],
    inputs: Mapping[str, Any],
    *,
    arguments: Sequence[str] = (),
    name: str | None = None,
    limits: Mapping[str, Quantity] | None = None,
    timeout: float | str = 3600,
    max_retries: int = 3,
    required_outputs: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Draft:
    """Put a module and its inputs in a submission. The node compiles and checks the module.

    Raises
    ------
    InputError
        The module is text or no module at all, or an input is of a type that does not travel.
    """
    content = {(ENTRY, Mount.PROJECT): _read(module)}
    if inputs:
        content[INPUTS, Mount.DATA] = _pack(inputs)
    files = [
        LocalFile(Path(path), path, len(data), mount, data)
        for (path, mount), data in content.items()
    ]
    usual_name = "module" if isinstance(module, bytes) else Path(module).stem
    fields: dict[str, Any] = {
        "kind": JobKind.WASM,
        "name": usual_name if name is None else name,
        "entry": ENTRY,
        "arguments": arguments,
        "limits": limits,
        "timeout": timeout,
        "max_retries": max_retries,
        "required_outputs": required_outputs,
        "labels": labels,
    }
    return checked_draft(fields, files)


def _read(module: bytes | str | PathLike[str]) -> bytes:
    from bcai.bridge.wasm.ending import EndedError
    from bcai.bridge.wasm.header import check_header

    if isinstance(module, bytes):
        place, content = "module", module
    else:
        place = f"module: {str(module)!r}"
        try:
            content = Path(module).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"module: no file {str(module)!r}") from None
        except OSError as error:
            raise InputError(f"{place}: {error.strerror}") from error
    try:
        check_header(content)
    except EndedError as error:
        raise FormatError(f"{place}: {error.message}", hint=error.hint) from None
    return content


def _pack(inputs: Mapping[str, Any]) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    from bcai.vm.isa.types import DType

    arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
    for name, array in arrays.items():
        try:
            DType.of(array.dtype)
        except FormatError as error:
            raise InputError(f"input {name!r}: {error}") from None
    # A scalar has become one element in one axis: it goes as it was.
    return save({name: each.reshape(np.shape(inputs[name])) for name, each in arrays.items()})
