"""Tensors for a job: sealed by the host, checked, and read in place by whoever has the file."""

import fcntl
import json
import mmap
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.bridge import report
from bcai.bridge.guest.capture import capture_variables
from bcai.bridge.guest.channel import Channel
from bcai.bridge.guest.inputs import Inputs
from bcai.bridge.sandbox.inputs import sealed_copy, sealed_tensors, take_sealed
from bcai.bridge.tensor_views import arrays_of, map_file

DTYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
    "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip
SHAPES = st.lists(st.integers(0, 4), max_size=3)
MANY = 1 << 30


@given(st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), max_size=5))
def test_what_goes_in_is_what_is_read(kinds: list[tuple[str, list[int]]]) -> None:
    arrays: dict[str, Any] = {
        f"t{i}": np.arange(int(np.prod(shape)))
        .reshape(shape)
        .astype(getattr(ml_dtypes, name, name))
        for i, (name, shape) in enumerate(kinds)
    }
    with sealed_tensors(arrays) as file:
        take_sealed(file, MANY)
        found = arrays_of(map_file(file))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_nobody_changes_a_sealed_file_and_each_reader_has_copies_of_its_own() -> None:
    with sealed_tensors({"x": np.arange(4.0)}) as file:
        for change in (
            lambda: os.pwrite(file, b"x", 0),
            lambda: os.ftruncate(file, 0),
            lambda: os.ftruncate(file, 1 << 20),
            lambda: mmap.mmap(file, 0),
            lambda: fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL),
        ):
            with pytest.raises(OSError, match="Operation not permitted"):
                change()
        one, other = (arrays_of(map_file(file))["x"] for _ in range(2))
        one[0] = 7
        assert other.tolist() == [0, 1, 2, 3]
        assert arrays_of(map_file(file))["x"].tolist() == [0, 1, 2, 3]


def test_a_clients_file_is_copied_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "inputs.safetensors"
    content = safetensors.numpy.save({"x": np.arange(4.0)}, {"made": "elsewhere"})
    path.write_bytes(content)
    with sealed_copy(str(path), MANY) as file:
        path.write_bytes(b"")
        assert arrays_of(map_file(file))["x"].tolist() == [0, 1, 2, 3]
    path.write_bytes(content)
    with (
        pytest.raises(FormatError, match=r"have 136 B, the job's limit of memory is 100 B"),
        sealed_copy(str(path), 100),
    ):
        raise AssertionError("it is too large")
    path.write_bytes(content[:-1])
    with pytest.raises(FormatError, match="do not fill"), sealed_copy(str(path), MANY):
        raise AssertionError("it is cut off")


def raw(header: str, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + body


PART = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (raw(f'{{"a":{PART},"a":{PART}}}', b"1"), "not strict JSON"),
        (raw('{"a":' + PART.replace("}", ',"more":1}') + "}", b"1"), "not described as expected"),
        (raw('{"__metadata__":[]}'), "remarks"),
        (raw('{"a":[' + "[]," * 2_400_000 + "[]]}"), "too many values"),
        (raw(json.dumps({"a": 1})), "not described as expected"),
        (b"", "cut off"),
    ],
)
def test_what_another_process_hands_over_is_checked(content: bytes, says: str) -> None:
    file = os.memfd_create("handed", os.MFD_ALLOW_SEALING)
    os.write(file, content)
    try:
        with pytest.raises(FormatError, match=says):
            take_sealed(file, MANY)
    finally:
        os.close(file)


def test_a_file_that_somebody_could_still_change_is_refused(tmp_path: Path) -> None:
    content = raw(f'{{"a":{PART}}}', b"1")
    file = os.memfd_create("handed", os.MFD_ALLOW_SEALING)
    os.write(file, content)
    with mmap.mmap(file, 0), pytest.raises(FormatError, match="cannot be sealed: Device or res"):
        take_sealed(file, MANY)
    take_sealed(file, MANY)  # nobody has it mapped any more
    os.close(file)
    plain = tmp_path / "plain"
    plain.write_bytes(content)
    reader, _ = os.pipe()
    for other in (os.open(plain, os.O_RDWR), os.memfd_create("unsealable"), reader):
        with pytest.raises(FormatError, match="cannot be sealed"):
            take_sealed(other, MANY)


def test_an_input_is_asked_for_by_name_and_is_no_output(tmp_path: Path) -> None:
    with sealed_tensors({"x": np.arange(4.0), "n": np.asarray(3)}) as file:
        inputs = Inputs(file)
        report.read_from(inputs)
        try:
            assert set(report.inputs) == {"x", "n"}
            assert report.input("x") is report.inputs["x"]
            assert report.inputs.get("y") is None
            with pytest.raises(LookupError, match=r"no input 'y'; the job has ('x', 'n'|'n', 'x')"):
                report.input("y")
            x = report.input("x")
            assert inputs.has_unchanged(x)
            assert not inputs.has_unchanged(x[:2])
            assert not inputs.has_unchanged(x + 0)
            assert not inputs.has_unchanged(x.reshape(2, 2).T)
            assert not inputs.has_unchanged(x[::-1])
            assert kept({"x": x, "again": x, "part": x[:2]}, tmp_path) == {"part"}
            x[3] = 0
            assert kept({"x": x}, tmp_path) == {"x"}
        finally:
            report.read_from({})


def kept(variables: dict[str, object], folder: Path) -> set[str]:
    """Names of the variables that a script would leave as its results."""
    control, outputs = (
        os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in ("control", "out")
    )
    os.ftruncate(outputs, 1 << 16)
    capture_variables(variables, Channel(control, outputs, 1 << 12))
    text = os.pread(control, 1 << 16, 0).decode()
    decoder, at, names = json.JSONDecoder(), 0, set[str]()
    while at < len(text):
        message, at = decoder.raw_decode(text, at)
        names |= {message["name"]} if message["type"] == "output" else set()
    return names


def test_torch_reads_inputs_in_place() -> None:
    torch: Any = pytest.importorskip("torch", reason="needs the extra `ml`")
    half = np.array([1, -2], ml_dtypes.bfloat16)
    with sealed_tensors({"x": np.arange(4.0), "h": half}) as file:
        inputs = Inputs(file)
        x = inputs["x"]
        for tensor in (torch.from_numpy(x), torch.from_dlpack(x)):
            assert tensor.data_ptr() == x.ctypes.data
            assert inputs.has_unchanged(tensor)
            assert not inputs.has_unchanged(tensor.reshape(2, 2))
        found = torch.from_dlpack(inputs["h"])
        assert found.dtype is torch.bfloat16
        assert found.data_ptr() == inputs["h"].ctypes.data
        assert found.tolist() == [1, -2]
        assert (inputs["h"] * 2).tolist() == [2, -4]


def test_outside_of_a_job_there_are_none() -> None:
    assert dict(report.inputs) == {}
    with pytest.raises(LookupError, match=r"the job has none: give it with inputs=\{...\}"):
        report.input("x")
