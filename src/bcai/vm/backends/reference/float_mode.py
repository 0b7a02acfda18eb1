"""The processor's default float mode for what Python and NumPy compute (Note [Float mode])."""

import ctypes
import platform
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import numpy as np

_ENVIRONMENT_BYTES = 64  # fenv_t has 32 on x86-64 and 8 on AArch64
_DEFAULT_ENVIRONMENT = ctypes.c_void_p(-1)  # FE_DFL_ENV of glibc and musl on both


@contextmanager
def default_float_mode() -> Generator[None, None, None]:
    """Run the body in the default mode, and put this thread's back; NumPy reports no exceptions.

    On systems other than Linux the mode stays as it is.
    """
    library = _libm()
    if library is None:
        with np.errstate(all="ignore"):
            yield
        return
    before = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
    library.fegetenv(before)
    library.fesetenv(_DEFAULT_ENVIRONMENT)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        library.fesetenv(before)


@cache
def _libm() -> ctypes.CDLL | None:
    if platform.system() != "Linux":
        return None
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:  # musl has it in the C library
        return ctypes.CDLL(None)
