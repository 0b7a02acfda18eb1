"""Padding with a tensor's own elements natively gives those that the definition names."""

from typing import Any

import numpy as np
import pytest
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target, targets
from tests.unit.vm.backends.native.lowered import AWKWARD, PLAIN, run_lowered

from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.isa.versions import LATEST

PADDED = (
    ((7,), (2,), (3,)),
    ((4, 33), (1, 2), (2, 1)),
    ((3, 5, 40), (0, 2, 1), (0, 1, 4)),
    ((2, 3, 4, 5, 6), (0, 2, 0, 1, 0), (0, 1, 0, 4, 0)),
    ((6, 70), (3, 0), (5, 0)),
    ((2, 200), (0, 0), (0, 150)),
    ((3, 1, 4), (2, 0, 3), (0, 0, 0)),
    ((4, 5), (0, 0), (0, 0)),
    ((0, 5), (0, 1), (0, 2)),
    ((), (), ()),
)
"""Shape, and elements before and after along each axis."""


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("awkward", [PLAIN, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize(("shape", "before", "after"), PADDED, ids=str)
@pytest.mark.parametrize("target", each_target())
def test_every_shape(
    target: Target,
    shape: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
    awkward: bool,
    mode: str,
) -> None:
    for dtype in (DType.float32, DType.bool, DType.bfloat16, DType.int64):
        x = np.frombuffer(np.random.default_rng(4).bytes(8 * int(np.prod(shape))), np.int64)
        x = (x % 2 if dtype is DType.bool else x).astype(dtype.numpy).reshape(shape)
        attributes: dict[str, Any] = {"before": before, "after": after, "mode": mode}
        wanted = np.asarray(LATEST.by_name["PadMode"].body(x, **attributes))
        fault, (found,) = run_lowered(
            "PadMode",
            [x],
            attributes,
            [TensorType.of(wanted)],
            target,
            awkward=awkward,
            splits=SPLITS_UNEVEN,
        )
        assert fault == 0
        assert found.tobytes() == wanted.tobytes()


def test_as_much_as_there_is() -> None:
    x = np.arange(5, dtype=np.int32)
    for mode, most in (("reflect", 4), ("circular", 5), ("replicate", 99)):
        attributes = {"before": (most,), "after": (most,), "mode": mode}
        wanted = np.asarray(LATEST.by_name["PadMode"].body(x, **attributes))
        _, (found,) = run_lowered("PadMode", [x], attributes, [TensorType.of(wanted)], targets()[0])
        assert found.tolist() == wanted.tolist()
