"""Named tensors from a file or a folder: `.safetensors`, `.npz`, `.npy`. Nothing is unpickled."""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from bcai.base.errors import FormatError, InputError, NotFoundError

if TYPE_CHECKING:
    from bcai.vm.isa.types import Array

SUFFIXES = (".safetensors", ".npz", ".npy")
_KEPT = "state/"  # what a node keeps of a run has other things beside the state


def read_tensors(path: Path, option: str) -> "dict[str, Array]":
    """Tensors by name; a `.npy` file has its own.

    Raises
    ------
    InputError
        There is nothing, or something that is no such file; the message names the option.
    """
    found: dict[str, Array] = {}
    for file in _files(path, option):
        for name, array in _read(file, option).items():
            if name in found:
                raise InputError(
                    f"{option} {path}: two tensors are named {name!r}",
                    hint=f"name one file of the folder: {option} {file}",
                )
            found[name] = array
    state = {
        name.removeprefix(_KEPT): each for name, each in found.items() if name.startswith(_KEPT)
    }
    return state or found


def read_results(path: Path, option: str) -> "dict[str, Array]":
    """Tensors that a job left; in a folder of results, those that its `result.json` names.

    What was saved beside them, such as the data and the first state, did not come from the node.
    """
    record = path / "result.json"
    if not record.is_file():
        return read_tensors(path, option)
    try:
        files: Any = json.loads(record.read_bytes())["files"].values()
        named = [path / str(file) for file in files]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{option}: {record} is not the record of a result: {error}") from error
    found: dict[str, Array] = {}
    for file in named:
        if file.suffix in SUFFIXES:
            found |= read_tensors(file, option)
    return found


def narrowed(array: "Array") -> "Array | None":
    """The bfloat16 array that was saved as this one; None where it has other numbers.

    A `.npy` file has no bfloat16: such an array is saved as float32, exactly.
    """
    import ml_dtypes
    import numpy as np

    if array.dtype != np.float32:
        return None
    narrow = array.astype(ml_dtypes.bfloat16)
    return narrow if narrow.astype(np.float32).tobytes() == array.tobytes() else None


def as_signed(found: "Mapping[str, Array]", types: Mapping[str, str]) -> "dict[str, Array]":
    """The same, narrowed where `types` says bfloat16: `narrowed`."""
    named = dict(found)
    for name, array in found.items():
        if types.get(name, "").startswith("bfloat16["):
            narrow = narrowed(array)
            named[name] = array if narrow is None else narrow
    return named


def _files(path: Path, option: str) -> Iterator[Path]:
    if not path.exists():
        raise NotFoundError(f"{option}: there is no {str(path)!r}")
    if path.is_file():
        yield path
        return
    files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if not files:
        raise InputError(f"{option} {path}: no file in it ends in {', '.join(SUFFIXES)}")
    yield from files


def _read(file: Path, option: str) -> "dict[str, Array]":
    import numpy as np

    from bcai.bridge.sandbox.safetensors_check import check_safetensors
    from bcai.bridge.tensor_views import array_at, headers_of

    try:
        if file.suffix == ".safetensors":
            content = file.read_bytes()
            check_safetensors(content)
            return {name: array_at(content, at) for name, at in headers_of(content).items()}
        if file.suffix in SUFFIXES:
            loaded: Any = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):  # the content decides, whatever it is called
                return {file.stem: loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error, FormatError) as error:
        raise FormatError(f"{option}: {file} cannot be read: {error}") from error
    raise InputError(f"{option} {file}: expected a file that ends in {', '.join(SUFFIXES)}")
