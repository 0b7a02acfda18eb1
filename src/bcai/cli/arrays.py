"""Arrays on the command line: `--input NAME=FILE.npy`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zipfile import BadZipFile

from bcai.base.errors import FormatError, InputError, NotFoundError

if TYPE_CHECKING:
    from bcai.vm.isa.types import Array


def read_inputs(pairs: Iterable[str]) -> dict[str, Any]:
    """Read `NAME=FILE.npy` pairs; a file is never unpickled.

    Two bytes without a name are bfloat16: so NumPy writes it. Bytes in another machine's order are
    put in this one's.

    Raises
    ------
    InputError
        A pair or a file is not what it should be; the message names it.
    """
    import ml_dtypes
    import numpy as np

    arrays: dict[str, Any] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or not name or not file:
            raise InputError(f"--input {pair!r}: expected NAME=FILE.npy, such as x=x.npy")
        if name in arrays:
            raise InputError(f"--input {name!r} stands twice")
        try:
            array: Any = np.load(Path(file), allow_pickle=False)
        except FileNotFoundError:
            raise NotFoundError(f"--input {name}: no file {file!r}") from None
        except OSError as error:
            raise InputError(f"--input {name}: {file!r}: {error.strerror}") from error
        except (ValueError, EOFError, BadZipFile) as error:  # NumPy's own words advise to unpickle
            raise FormatError(
                f"--input {name}: {file!r} is not a .npy file of numbers",
                hint="numpy.save writes one; an array of objects is none",
            ) from error
        if not isinstance(array, np.ndarray):
            array.close()
            raise FormatError(
                f"--input {name}: {file!r} is an archive of arrays ({', '.join(array.files)}), "
                "expected one array in a .npy file",
                hint=f"numpy.save('{name}.npy', numpy.load({file!r})[NAME])",
            )
        found = cast("Array", array)
        plain = found.astype(found.dtype.newbyteorder("="), copy=False)
        arrays[name] = plain.view(ml_dtypes.bfloat16) if plain.dtype.str == "|V2" else plain
    return arrays
