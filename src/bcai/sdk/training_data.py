"""What a training learns from, as columns of rows: whatever users keep their examples in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from bcai.base.errors import InputError
from bcai.sdk.notices import say_of_job

if TYPE_CHECKING:
    from bcai.vm.isa.types import Array

ROWS_MAX = 1 << 31


def columns_of(data: Any) -> "dict[str | int, Array]":
    """Columns by name, or by place where they have none.

    Parameters
    ----------
    data
        A mapping or a sequence of arrays or tensors, all with one row for each example; or a
        data set of PyTorch's kind, whose items are such rows.

    Raises
    ------
    InputError
        It is none of these, or a column holds no numbers; the message names it.
    """
    import numpy as np

    named: dict[Any, Any]
    if _has_keys(data):  # a mapping, or a table such as a DataFrame
        named = dict(data)
    elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
        named = dict(enumerate(cast("Sequence[Any]", data)))
    elif hasattr(data, "__getitem__") and not isinstance(data, str | bytes | np.ndarray):
        named = _stacked(data)
    else:
        kind: str = type(cast("object", data)).__name__
        raise InputError(
            f"data: found {kind}, expected a mapping or a sequence of arrays, or a data set"
        )
    if not named:
        raise InputError("data: found no column, expected at least one")
    return {name: _array(name, value) for name, value in named.items()}


def warn_of_columns(columns: "Mapping[str | int, Array]") -> None:
    """Say which columns hold what is not finite: legal, and rarely meant."""
    import numpy as np

    from bcai.vm.isa.types import DType

    for name, column in columns.items():
        if not DType.of(column.dtype).is_float or np.isfinite(column).all():
            continue
        places = np.argwhere(~np.isfinite(column))
        rows, value = len(np.unique(places[:, 0])), column[tuple(places[0])]
        say_of_job(
            f"data column {name!r}: {rows:,} of {len(column):,} rows have values that are not "
            f"finite, the first is {float(value)} in row {places[0, 0]}"
        )


def _stacked(dataset: Any) -> dict[Any, Any]:
    """All items of a data set, column by column."""
    import numpy as np

    if not hasattr(dataset, "__len__"):
        kind = type(dataset).__name__
        raise InputError(f"data: found {kind}, which has no length, expected one with all its rows")
    if not 0 < len(dataset) < ROWS_MAX:
        raise InputError(f"data: found a data set of {len(dataset)} items, expected at least one")
    if hasattr(dataset, "tensors"):  # a TensorDataset has its columns at hand
        return dict(enumerate(cast("Sequence[Any]", dataset.tensors)))
    items: list[Any] = [dataset[index] for index in range(len(dataset))]
    try:
        names: list[Any] = list(items[0] if _has_keys(items[0]) else range(len(items[0])))
        return {name: np.stack([np.asarray(item[name]) for item in items]) for name in names}
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(f"data: its items do not line up in columns: {error}") from error


def _has_keys(value: object) -> bool:
    return callable(getattr(value, "keys", None))


def _array(name: object, value: Any) -> "Array":
    import numpy as np

    from bcai.base.errors import FormatError
    from bcai.vm.isa.types import DType

    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
    try:
        array = np.asarray(value, order="C")
        DType.of(array.dtype)
    except (TypeError, ValueError, RuntimeError, FormatError) as error:
        raise InputError(f"data column {name!r}: {error}") from error
    if array.ndim == 0:
        raise InputError(f"data column {name!r}: found a scalar, expected rows")
    return array
