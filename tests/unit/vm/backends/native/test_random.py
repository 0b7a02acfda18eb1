"""Random numbers natively are those of the definition, whoever draws which part."""

from typing import Any

import numpy as np
import pytest
from tests.unit.vm.backends.native.elementwise_kernel import same_bits
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target, targets
from tests.unit.vm.backends.native.lowered import AWKWARD, PLAIN, run_lowered

from bcai.base.errors import InputError
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import FLOATS, DType, TensorType
from bcai.vm.isa.versions import LATEST

SHAPES = ((), (0,), (3, 7), (64,), (1000,))
KEYS = ((0, 0), (-1, (1 << 32) - 1), (0x0123456789ABCDEF, 77))
DRAWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Philox", {"stream": 7}),
    ("RandomInt", {"stream": (1 << 32) - 1, "low": -5, "high": 12}),
    ("RandomInt", {"stream": 1, "low": 1 << 40, "high": (1 << 40) + (1 << 31)}),
    *(("Uniform", {"stream": 0, "dtype": each}) for each in sorted(FLOATS)),
)


def run(
    name: str, key: tuple[int, int], attributes: dict[str, Any], target: Target, *, awkward: bool
) -> None:
    seed, step = (np.asarray(each, np.int64) for each in key)
    wanted = np.asarray(LATEST.by_name[name].body(seed, step, **attributes))
    fault, (found,) = run_lowered(
        name,
        [seed, step],
        attributes,
        [TensorType.of(wanted)],
        target,
        awkward=awkward,
        splits=SPLITS_UNEVEN,
    )
    assert fault == 0
    assert same_bits(found, wanted).all()


@pytest.mark.parametrize(("name", "attributes"), DRAWS, ids=lambda each: str(each)[:40])
@pytest.mark.parametrize("target", each_target())
def test_every_draw(target: Target, name: str, attributes: dict[str, Any]) -> None:
    for shape in SHAPES:
        for key in KEYS:
            run(name, key, {**attributes, "shape": shape}, target, awkward=PLAIN)
    run(name, KEYS[2], {**attributes, "shape": (9, 11)}, target, awkward=AWKWARD)


@pytest.mark.parametrize("target", each_target())
def test_every_permutation(target: Target) -> None:
    for count in (0, 1, 7, 24, 25, 300, 5000):
        for key in KEYS:
            run("Permutation", key, {"stream": 3, "count": count}, target, awkward=PLAIN)
    run("Permutation", KEYS[2], {"stream": 3, "count": 60}, target, awkward=AWKWARD)


@pytest.mark.parametrize("count", [0, 100])
def test_a_permutation_looks_at_its_step(count: int) -> None:
    operands = [np.asarray(each, np.int64) for each in (1, 1 << 32)]
    attributes = {"stream": 0, "count": count}
    types = [TensorType(DType.int64, (count,))]
    fault, _ = run_lowered("Permutation", operands, attributes, types, targets()[0])
    assert fault == 1


@pytest.mark.parametrize("shape", [(), (0,), (100,)], ids=str)
def test_a_step_outside_32_bits_is_the_operands_fault(shape: tuple[int, ...]) -> None:
    attributes: dict[str, Any] = {"stream": 0, "shape": shape, "dtype": DType.float32}
    for step in (-1, 1 << 32):
        operands = [np.asarray(each, np.int64) for each in (1, step)]
        with pytest.raises(InputError):
            LATEST.by_name["Uniform"].body(*operands, **attributes)
        types = [TensorType(DType.float32, shape)]
        fault, _ = run_lowered("Uniform", operands, attributes, types, targets()[0])
        assert fault == 1
