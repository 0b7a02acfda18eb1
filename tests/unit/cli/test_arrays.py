"""`--input NAME=FILE.npy`: what is read, and what is refused in our own words."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bcai.base.errors import InputError
from bcai.cli.arrays import read_inputs


def test_arrays_come_by_name_with_their_bits(tmp_path: Path) -> None:
    half = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    np.save(tmp_path / "a.npy", np.arange(3))
    np.save(tmp_path / "b.npy", half)
    found = read_inputs([f"a={tmp_path / 'a.npy'}", f"b={tmp_path / 'b.npy'}"])
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].dtype == half.dtype
    assert found["b"].tobytes() == half.tobytes()


def test_the_other_order_of_bytes_is_put_in_this_ones(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.0, 2.0], ">f4"))
    found = read_inputs([f"a={tmp_path / 'a.npy'}"])["a"]
    assert found.dtype == np.dtype(np.float32)
    assert found.tolist() == [1, 2]


def test_an_archive_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(1), y=np.zeros(1))
    with pytest.raises(InputError, match=r"--input a: .* is an archive of arrays \(x, y\)"):
        read_inputs([f"a={tmp_path / 'a.npz'}"])


def test_a_damaged_archive_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"--input a: .* is not a \.npy file"):
        read_inputs([f"a={tmp_path / 'a.npy'}"])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("x", "expected NAME=FILE.npy"),
        ("x=", "expected NAME=FILE.npy"),
        ("=x.npy", "expected NAME=FILE.npy"),
        ("x=none.npy", "no file"),
        ("x=.", "Is a directory"),
    ],
)
def test_what_is_no_pair_or_no_file_is_named(pair: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_inputs([pair])


def test_a_name_stands_once(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(1))
    with pytest.raises(InputError, match="'a' stands twice"):
        read_inputs([f"a={tmp_path / 'a.npy'}"] * 2)
