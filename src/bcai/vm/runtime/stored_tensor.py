"""Tensors as compressed bytes: smaller, and exactly the same when read.

Note [Stored tensor]
    `BCT1`, the element type's byte, the rank's byte, each size in 8 bytes (little-endian), then one
    zstd frame. In it stand the first bytes of all elements, then the second ones, and so on: bytes
    of one rank (such as exponents) resemble each other and compress better.
"""

import math
import struct
import sys

import numpy as np

from bcai.base.errors import FormatError
from bcai.vm.isa.types import ELEMENTS_MAX, RANK_MAX, Array, DType

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"BCT1"
LEVEL = 3


def compress(array: Array, level: int = LEVEL) -> bytes:
    """Compress a tensor. Raises FormatError for an element type that the machine does not have."""
    dtype = DType.of(array.dtype)
    if array.ndim > RANK_MAX:
        raise FormatError(f"rank {array.ndim}, at most {RANK_MAX}")
    sizes = struct.pack(f"<{array.ndim}Q", *array.shape)
    plain = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    planes = np.ascontiguousarray(plain.reshape(-1, dtype.itemsize).T)
    return MAGIC + bytes((dtype, array.ndim)) + sizes + zstd.compress(planes.data, level)


def decompress(data: bytes) -> Array:
    """The tensor that `compress` was given, bit for bit.

    Raises
    ------
    FormatError
        The bytes are not a stored tensor, or not a whole one. No more memory is taken than the
        sizes in the header say.
    """
    if data[:4] != MAGIC or len(data) < 6 or data[5] > RANK_MAX:
        raise FormatError("not a stored tensor: expected it to begin with BCT1, type and rank")
    try:
        dtype, rank = DType(data[4]), data[5]
        shape = struct.unpack_from(f"<{rank}Q", data, 6)
    except (ValueError, struct.error) as error:
        raise FormatError(f"not a stored tensor: {error}") from error
    if max((math.prod(shape), *shape)) > ELEMENTS_MAX:  # one size counts even beside a 0
        raise FormatError(f"a stored tensor of shape {shape} is too large")
    nbytes = math.prod(shape) * dtype.itemsize
    planes = np.frombuffer(_unpack(data[6 + 8 * rank :], nbytes), np.uint8)
    plain = np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T)
    return plain.reshape(-1).view(dtype.numpy).reshape(shape)


def _unpack(frame: bytes, nbytes: int) -> bytes:
    unpacker = zstd.ZstdDecompressor()
    try:
        found = unpacker.decompress(frame, nbytes)
        if not unpacker.eof and len(found) == nbytes:
            found += unpacker.decompress(b"", 1)  # the frame's checksum, or a byte too many
    except zstd.ZstdError as error:
        raise FormatError(f"stored tensor: {error}") from error
    if not unpacker.eof or unpacker.unused_data or len(found) != nbytes:
        raise FormatError(f"stored tensor: expected one frame of {nbytes} bytes")
    return found
