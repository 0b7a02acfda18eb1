"""Named tensors from files: by what is in them, and damaged ones refused in our own words."""

import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bcai.base.errors import FormatError
from bcai.cli.tensor_files import as_signed, read_tensors


def test_the_content_decides_whatever_the_file_is_called(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.arange(2))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    assert read_tensors(tmp_path / "a.npy", "--data")["x"].tolist() == [0, 1, 2]
    assert read_tensors(tmp_path / "b.npz", "--data")["b"].tolist() == [0, 1]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.npz"
    archive.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FormatError, match=r"--data: .* cannot be read"):
        read_tensors(archive, "--data")
    np.savez_compressed(archive, x=np.arange(1000))
    with zipfile.ZipFile(archive) as opened:
        place = opened.getinfo("x.npy").header_offset
    content = bytearray(archive.read_bytes())
    content[place + 60 : place + 90] = bytes(30)
    archive.write_bytes(content)
    with pytest.raises(FormatError, match=r"--data: .* cannot be read"):
        read_tensors(archive, "--data")


def test_what_was_saved_wider_is_narrowed_where_it_was_signed_so() -> None:
    half = np.array([1.5, -0.0, np.inf], ml_dtypes.bfloat16)
    found = {
        "half": half.astype(np.float32),
        "single": np.array([1], np.float32),
        "third": np.array([0.1], np.float32),
    }
    types = {"half": "bfloat16[3]", "single": "float32[1]", "third": "bfloat16[1]"}
    named = as_signed(found, types)
    assert named["half"].tobytes() == half.tobytes()
    assert [named[name].dtype.name for name in ("single", "third")] == ["float32", "float32"]
