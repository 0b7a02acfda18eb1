"""Integer instructions that can fail give the bits, and the errors, of the definition."""

import numpy as np
import pytest
from tests.unit.vm.backends.native.elementwise_kernel import same_bits
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target, targets
from tests.unit.vm.backends.native.lowered import AWKWARD, PLAIN, run_lowered
from tests.unit.vm.backends.native.test_elementwise import special_values

from bcai.base.errors import InputError
from bcai.vm.backends.native.elementwise import supports
from bcai.vm.backends.native.kernels.fallible import CHECKED
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import INTEGERS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST

SIGNED = sorted(INTEGERS - {DType.uint8})
FALLIBLE = [
    pytest.param(name, dtype, id=f"{name}-{dtype.name}")
    for name in CHECKED
    for dtype in (*SIGNED, DType.uint8)
    if not supports(LATEST.by_name[name], [dtype])
]


def pairs(name: str, dtype: DType) -> list[tuple[Array, Array]]:
    """Every pair of special values that is not at fault, and operands to be broadcast."""
    special = special_values(dtype)
    a, b = np.meshgrid(special, special)
    if name == "Pow":
        at_fault = (a == 0) & (b < 0)
    else:
        at_fault = b < 0 if name.startswith("BitShift") else b == 0
    above = special[special > 0]
    column = above.reshape(-1, 1)
    return [(a, np.where(at_fault, above[0], b)), (special, column), (column, above[:1])]


@pytest.mark.parametrize("awkward", [PLAIN, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize(("name", "dtype"), FALLIBLE)
@pytest.mark.parametrize("target", each_target())
def test_bits_are_those_of_the_definition(
    target: Target, name: str, dtype: DType, awkward: bool
) -> None:
    for a, b in pairs(name, dtype):
        with np.errstate(all="ignore"):
            wanted = np.asarray(LATEST.by_name[name].body(*np.broadcast_arrays(a, b)))
        fault, (found,) = run_lowered(
            name,
            [a, b],
            {},
            [TensorType.of(wanted)],
            target,
            awkward=awkward,
            splits=SPLITS_UNEVEN,
        )
        assert fault == 0
        assert same_bits(found, wanted).all()


@pytest.mark.parametrize("name", CHECKED)
def test_a_fault_is_reported(name: str) -> None:
    a, b = (
        np.asarray([3, 0, 5], np.int32),
        np.asarray([1, -1 if name[0] in "BP" else 0, 2], np.int32),
    )
    with pytest.raises(InputError):
        LATEST.by_name[name].body(a, b)
    fault, _ = run_lowered(name, [a, b], {}, [TensorType.of(a)], targets()[0])
    assert fault == 1
