"""What the documentation says of WebAssembly is so: each function, each number, each example."""

import re
from pathlib import Path

import numpy as np
from tests.unit.bridge.wasm.modules import run

from bcai.bridge.wasm import abi
from bcai.vm.isa.types import DType

ROOT = Path(__file__).parents[4]
REFERENCE = (ROOT / "docs" / "reference" / "wasm.md").read_text()
GUIDE = (ROOT / "docs" / "guides" / "webassembly.md").read_text()


def test_the_reference_lists_every_function_with_its_type() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*)\)` \| `(.*)` \|", REFERENCE, re.M)
    assert {name: type_ for name, _, type_ in rows} == {
        name: str(signature) for name, signature in abi.FUNCTIONS.items()
    }
    for name, parameters, _ in rows:
        count = len(parameters.split(", ")) if parameters else 0
        assert count == len(abi.FUNCTIONS[name].parameters), name


def test_the_reference_states_the_bounds_in_force() -> None:
    for text in (
        f"at most {abi.MODULE_BYTES_MAX >> 20} MiB",
        f"{abi.TABLES_MAX} tables with {abi.TABLE_ELEMENTS_MAX:,} elements",
        f"{abi.STACK_BYTES >> 20} MiB of stack",
        f"a host function costs {abi.FUEL_PER_CALL:,}",
        f"gets {abi.FUEL_PER_SECOND:,} for each second",
        f"at most {abi.RANK_MAX}",
        f"1 to {abi.NAME_BYTES_MAX} bytes",
    ):
        assert text in " ".join(REFERENCE.split()), text


def test_the_reference_numbers_the_element_types() -> None:
    lines = REFERENCE.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("| 1 | 2 |"))
    numbers = [int(cell) for cell in lines[at].strip("| ").split(" | ")]
    names = [cell.split()[0] for cell in lines[at + 2].strip("| ").split(" | ")]
    assert dict(zip(names, numbers, strict=True)) == {each.name: int(each) for each in DType}


def test_the_guides_module_does_what_it_says() -> None:
    (text,) = re.findall(r"^```wat\n(.*?)^```$", GUIDE, re.M | re.S)
    done = run(text, {"x": np.asarray([1.5, -2.0], np.float32)})
    assert done.finished.ended is None
    np.testing.assert_array_equal(done.outputs["y"], [3.0, -4.0])


def test_the_example_scales_any_shape() -> None:
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 3, 2)
    done = run((ROOT / "examples" / "scale.wat").read_text(), {"w": x, "x": x})
    np.testing.assert_array_equal(done.outputs["y"], x / 6)
    assert done.text == {"stdout": "scaled\n"}
