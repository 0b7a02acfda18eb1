"""Reading and writing by index natively gives the bits, and the errors, of the definition."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.unit.vm.backends.native.elementwise_kernel import same_bits
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target, targets
from tests.unit.vm.backends.native.lowered import AWKWARD, PLAIN, run_lowered

from bcai.base.errors import InputError
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import NUMBERS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST

FIRST_INDEX = {"Index": 1, "IndexPut": 2}
"""Their operands from here on are indices; of the others the second one is."""


@dataclass(frozen=True)
class Sample:
    """Shapes of the operands, and attributes; the indices are drawn."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, each)) for each in self.shapes)
        return f"{self.name}-{shapes}"


def sample(name: str, *shapes: tuple[int, ...], **attributes: Any) -> Sample:
    return Sample(name, shapes, attributes)


SAMPLES = (
    sample("Gather", (50, 33), (7, 5), axis=0),
    sample("Gather", (6, 50, 3), (17,), axis=1),
    sample("Gather", (6, 5), (3, 2), axis=-1),
    sample("Gather", (300,), (1001,), axis=0),
    sample("Gather", (9, 130), (), axis=0),
    sample("Gather", (4, 0), (3,), axis=0),
    sample("AddRows", (11, 130), (40,), (40, 130)),
    sample("AddRows", (5, 3, 2), (9,), (9, 3, 2)),
    sample("AddRows", (7,), (100,), (100,)),
    sample("AddRows", (3, 4), (0,), (0, 4)),
    sample("GatherElements", (20, 30), (20, 1), axis=1),
    sample("GatherElements", (5, 7, 6), (4, 9, 5), axis=1),
    sample("GatherElements", (40,), (100,), axis=0),
    sample("ScatterElements", (6, 7), (6, 20), (6, 20), axis=1),
    sample("ScatterElements", (5, 7, 6), (4, 9, 5), (4, 9, 5), axis=1),
    sample("ScatterAdd", (6, 7), (6, 40), (6, 40), axis=1),
    sample("ScatterAdd", (7, 9), (30, 8), (30, 8), axis=0),
    sample("ScatterAdd", (5,), (0,), (0,), axis=0),
    sample("Index", (5, 6, 4), (3, 1), (7,)),
    sample("Index", (5, 6), (2, 3), (2, 3)),
    sample("Index", (9, 40), (12,)),
    sample("IndexPut", (5, 6, 4), (4,), (3, 1), (7,), accumulate=True),
    sample("IndexPut", (5, 6, 4), (4,), (3, 1), (7,), accumulate=False),
    sample("IndexPut", (9, 70), (20, 70), (20,), accumulate=True),
    sample("IndexPut", (4, 4), (), (9,), (9,), accumulate=False),
)


def index_places(name: str, count: int) -> list[int]:
    first = FIRST_INDEX.get(name)
    return [1] if first is None else list(range(first, count))


def drawn(sample: Sample, dtype: DType, index_dtype: DType) -> list[Array]:
    """Operands; indices of either sign, and values in which the order of additions shows."""
    random = np.random.default_rng(3)
    operands: list[Array] = []
    for number, shape in enumerate(sample.shapes):
        if number in index_places(sample.name, len(sample.shapes)):
            operands.append(np.zeros(shape, index_dtype.numpy))
        elif dtype.is_float:
            values = random.standard_normal(shape) * 10.0 ** random.integers(-3, 4, shape)
            operands.append(values.astype(dtype.numpy))
        elif dtype is DType.bool:
            operands.append(random.random(shape) < 0.5)
        else:
            limits = np.iinfo(dtype.numpy)
            operands.append(
                random.integers(limits.min, limits.max, shape, dtype.numpy, endpoint=True)
            )
    x = sample.shapes[0]
    for axis, number in enumerate(index_places(sample.name, len(sample.shapes))):
        size = x[int(sample.attributes.get("axis", axis))]
        shape = sample.shapes[number]
        operands[number] = random.integers(-size, size, shape, index_dtype.numpy)
    return operands


def compare(
    sample: Sample, dtype: DType, index_dtype: DType, target: Target, *, awkward: bool
) -> None:
    operands = drawn(sample, dtype, index_dtype)
    with np.errstate(all="ignore"):
        wanted = LATEST.by_name[sample.name].body(*operands, **sample.attributes)
    fault, (found,) = run_lowered(
        sample.name,
        operands,
        sample.attributes,
        [TensorType.of(wanted)],
        target,
        awkward=awkward,
        splits=SPLITS_UNEVEN,
    )
    assert fault == 0
    assert same_bits(found, np.asarray(wanted)).all()


@pytest.mark.parametrize("awkward", [PLAIN, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize("each", SAMPLES, ids=str)
@pytest.mark.parametrize("target", each_target())
def test_every_shape(target: Target, each: Sample, awkward: bool) -> None:
    compare(each, DType.float32, DType.int64, target, awkward=awkward)


FEW = (SAMPLES[0], SAMPLES[6], SAMPLES[11], SAMPLES[14], SAMPLES[16], SAMPLES[18], SAMPLES[21])


@pytest.mark.parametrize("dtype", list(DType), ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", each_target()[::2])  # the middle one has no code of its own
def test_every_type(target: Target, dtype: DType) -> None:
    for each in FEW:
        if dtype in NUMBERS or dtype in LATEST.by_name[each.name].dtypes:
            compare(each, dtype, DType.int32, target, awkward=PLAIN)


@pytest.mark.parametrize("each", SAMPLES, ids=str)
def test_an_index_outside_is_the_operands_fault(each: Sample) -> None:
    operands = drawn(each, DType.float32, DType.int64)
    places = index_places(each.name, len(each.shapes))
    number = places[-1]
    size = each.shapes[0][int(each.attributes.get("axis", len(places) - 1))]
    if not operands[number].size:
        pytest.skip("there is no index; nothing can lift it")
    wanted = TensorType.of(np.asarray(LATEST.by_name[each.name].body(*operands, **each.attributes)))
    for outside in (size, -size - 1, 1 << 40):
        operands[number].reshape(-1)[-1] = outside
        with pytest.raises(InputError):
            LATEST.by_name[each.name].body(*operands, **each.attributes)
        fault, _ = run_lowered(
            each.name, operands, each.attributes, [wanted], targets()[-1], splits=SPLITS_UNEVEN
        )
        assert fault == 1


def test_order_shows_in_the_samples() -> None:
    """Additions in another order would give other bits, or the tests above would prove little."""
    each = SAMPLES[6]
    x, indices, rows = drawn(each, DType.float32, DType.int64)
    body = LATEST.by_name["AddRows"].body
    assert not same_bits(body(x, indices, rows), body(x, indices[::-1], rows[::-1])).all()
