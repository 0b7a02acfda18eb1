"""A WebAssembly module as a submission, and what is refused before anything is sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from bcai.base.errors import FormatError, InputError, NotFoundError
from bcai.jobs.spec import JobKind, Mount
from bcai.sdk.wasm import draft_wasm

EMPTY = b"\0asm\1\0\0\0"  # the shortest module


def test_a_module_goes_as_its_bytes_with_its_inputs_beside_it(tmp_path: Path) -> None:
    (tmp_path / "double.wasm").write_bytes(EMPTY)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    draft = draft_wasm(
        tmp_path / "double.wasm",
        {"x": x.T, "n": np.int64(3)},
        arguments=("a",),
        limits={"fuel": 1000, "memory": "64MB"},
    )
    assert draft.submission.kind is JobKind.WASM
    assert draft.submission.name == "double"
    assert draft.submission.arguments == ["a"]
    assert draft.submission.limits.fuel == 1000
    module, inputs = draft.files
    assert (module.path, module.mount, module.content) == ("module.wasm", Mount.PROJECT, EMPTY)
    assert inputs.content is not None
    arrays = load(inputs.content)
    np.testing.assert_array_equal(arrays["x"], x.T)
    assert arrays["n"].shape == ()


def test_a_module_without_inputs_is_one_file() -> None:
    assert [file.path for file in draft_wasm(EMPTY, {}).files] == ["module.wasm"]


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"(module)", "found WebAssembly text", "wat2wasm"),
        (b"\n;; a module\n(module)", "found WebAssembly text", "wat2wasm"),
        (b"\0asm\x0d\0\1\0", "version 0d000100", "core module"),
        (b"\x7fELF", r"found b'\x7fELF'", ""),
    ],
)
def test_what_is_no_module_is_refused(content: bytes, message: str, hint: str) -> None:
    with pytest.raises(FormatError) as caught:
        draft_wasm(content, {})
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"module: no file 'absent\.wasm'"):
        draft_wasm("absent.wasm", {})


def test_an_input_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="input 'x': no element type"):
        draft_wasm(EMPTY, {"x": np.zeros(2, np.complex64)})


@pytest.mark.parametrize("field", ["arguments", "required_outputs"])
def test_a_text_is_no_list_of_letters(field: str) -> None:
    options: dict[str, Any] = {field: "ab"}
    with pytest.raises(InputError, match=f"{field}: found the text 'ab'"):
        draft_wasm(EMPTY, {}, **options)


@pytest.mark.parametrize("fuel", [0, -1, 2.5, "many"])
def test_fuel_is_a_count(fuel: float | str) -> None:
    with pytest.raises(InputError, match=r"limits\.fuel"):
        draft_wasm(EMPTY, {}, limits={"fuel": fuel})
