"""A data set's root: any row can be shown, and nothing can be changed, moved or left out."""

import numpy as np
import pytest

from bcai.base.errors import InputError
from bcai.base.merkle import is_included, leaf_hash
from bcai.proof import data as data_module
from bcai.proof.data import Data
from bcai.vm.isa.types import Array

COLUMNS: dict[str, Array] = {
    "x": np.arange(15, dtype=np.float32).reshape(5, 3),
    "a": np.asarray([True, False, True, True, False]),
}
GOLDEN = "d3e769bd5e2fcd537b552f2ffd95837760370081c52bbaa15b2984b704861a72"


def test_golden_root() -> None:
    assert Data(COLUMNS).root.hex() == GOLDEN


def test_a_row_is_its_columns_bytes_in_order() -> None:
    data = Data(COLUMNS)
    assert data.row(3) == b"\x01" + COLUMNS["x"][3].tobytes()
    for index in range(5):
        leaf = leaf_hash(data.row(index))
        assert is_included(data.tree.head, 1 + index, leaf, data.tree.path(1 + index))
        assert not is_included(data.tree.head, 2 + index, leaf, data.tree.path(1 + index))
    assert is_included(data.tree.head, 0, leaf_hash(data.header), data.tree.path(0))


def test_rows_are_lined_up_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Data(COLUMNS).root
    monkeypatch.setattr(data_module, "_CHUNK_BYTES", 30)
    assert Data(COLUMNS).root == whole


def test_every_part_is_in_the_root() -> None:
    x, a = COLUMNS["x"], COLUMNS["a"]
    changed: list[dict[str, Array]] = [
        COLUMNS,
        {"x": x[::-1], "a": a[::-1]},
        {"x": x[:4], "a": a[:4]},
        {"x": x.reshape(5, 1, 3), "a": a},
        {"x": x.view(np.int32), "a": a},
        {"y": x, "a": a},
        {"x": -x, "a": a},
        {"x": x},
        {"x": x[:0]},
        {"x": np.empty((5, 0), np.float32)},
    ]
    assert len({Data(each).root for each in changed}) == len(changed)


def test_bad_data_is_named() -> None:
    with pytest.raises(InputError, match="at least one"):
        Data({})
    with pytest.raises(InputError, match="'x': found a scalar"):
        Data({"x": np.asarray(1.0)})
    with pytest.raises(InputError, match="'x' has 2, 'y' has 3"):
        Data({"y": np.zeros(3), "x": np.zeros(2)})
