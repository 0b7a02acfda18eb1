"""Random words from a counter: the same on every machine, in any order, from any shard.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox-4x32-10).
"""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, ...]:
    """Encrypt counters of four 32-bit words with a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first = c0.astype(np.uint64) * _MULTIPLIERS[0]
        second = c2.astype(np.uint64) * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (second >> np.uint64(32)).astype(np.uint32) ^ c1 ^ np.uint32(k0),
            (second & _LOW).astype(np.uint32),
            (first >> np.uint64(32)).astype(np.uint32) ^ c3 ^ np.uint32(k1),
            (first & _LOW).astype(np.uint32),
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(seed: int, step: int, stream: int, count: int) -> Words:
    """Words 0 to count - 1 of one stream at one step.

    Word i is word i % 4 of the block with the counter (i // 4, step, stream), under the key `seed`:
    counter words are the low and high half of i // 4, the step and the stream.
    """
    block = np.arange(-(-count // 4), dtype=np.uint64)
    shape = block.shape
    counter = (
        (block & _LOW).astype(np.uint32),
        (block >> np.uint64(32)).astype(np.uint32),
        np.full(shape, step, np.uint32),
        np.full(shape, stream, np.uint32),
    )
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    return np.stack(philox(counter, key), axis=-1).reshape(-1)[:count]
