"""Python inside a program: code that the node runs in its jail, with tensors in and out."""

import re
from typing import Literal

from bcai.base.errors import FormatError, RefusedError, VerifyError
from bcai.vm.isa.op import Types, case, instruction, types_of
from bcai.vm.isa.types import ANY, Array, DType, TensorType, parse_type

CODE_CHARACTERS_MAX = 1 << 20
OUTPUTS_MAX = 256
RAN = TensorType(DType.bool)
"""Type of the one result of code that names no outputs."""

_OUTPUT = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,99}): ([a-z0-9]+\[[0-9,]*\])")


def parse_outputs(text: str) -> dict[str, TensorType]:
    """Read the outputs that code declares, such as `y: float32[2,3], loss: float32[]`.

    Raises
    ------
    VerifyError
        It is not such a list, in this one spelling, with every name once.
    """
    found: dict[str, TensorType] = {}
    for part in text.split(", ") if text else []:
        match = _OUTPUT.fullmatch(part)
        if match is None:
            raise VerifyError(f"outputs: found {part[:80]!r}, expected such as 'y: float32[2,3]'")
        if match[1] in found:
            raise VerifyError(f"outputs: {match[1]!r} stands twice")
        try:
            found[match[1]] = parse_type(match[2])
        except FormatError as error:
            raise VerifyError(f"outputs: {match[1]}: {error}") from error
    if len(found) > OUTPUTS_MAX:
        raise VerifyError(f"outputs: found {len(found)}, at most {OUTPUTS_MAX}")
    return found


def _python_execute(*inputs: TensorType, code: str, outputs: str, sandbox: str, gpu: bool) -> Types:
    del inputs, sandbox, gpu
    if len(code) > CODE_CHARACTERS_MAX:
        raise VerifyError(f"code has {len(code)} characters, at most {CODE_CHARACTERS_MAX}")
    return tuple(parse_outputs(outputs).values()) or (RAN,)


_DOUBLE = {"code": "y = inputs[0] * 2", "sandbox": "high", "gpu": False}


@instruction(
    opcode=0x0A00,
    dtypes=ANY,
    differentiable=False,
    pure=False,
    types=types_of(
        _python_execute,
        accepts=(
            case("float32[2,3]", **_DOUBLE, outputs="y: float32[2,3]"),
            case("float32[2]", "int64[]", **_DOUBLE, outputs="y: float32[2], n: int64[]"),
            case(**_DOUBLE, outputs=""),
        ),
        rejects=(
            case("float32[2]", **_DOUBLE, outputs="y"),
            case("float32[2]", **_DOUBLE, outputs="y: float32[2],n: int64[]"),
            case("float32[2]", **_DOUBLE, outputs="y: float32[2], y: int64[]"),
            case("float32[2]", **_DOUBLE, outputs="y: float31[2]"),
            case("float32[2]", **{**_DOUBLE, "sandbox": "low"}, outputs="y: float32[2]"),
        ),
    ),
)
def python_execute(
    *inputs: Array,
    code: str,
    outputs: str = "",
    sandbox: Literal["high", "standard", "trusted"] = "high",
    gpu: bool = False,
) -> tuple[Array, ...]:
    """Run Python code in the node's jail, with tensors in and out.

    The code finds the operands in the list `inputs` as NumPy arrays, and leaves each declared
    output in a top-level variable of its name (or gives it to `bcai.output`). `outputs` declares
    them with their types, such as `y: float32[2,3], loss: float32[]`; what comes back is checked
    against that. Code that declares none gives one `bool[]`: true, once it has run.

    What it computes is decided by the libraries of the machine: it has no gradient, is never merged
    with a like instruction, and its bits are `replicated`, not `exact`. Whoever runs the program
    brings what runs the code; without it the instruction is refused.
    """
    del inputs, code, outputs, sandbox, gpu
    raise RefusedError(
        "PythonExecute: nothing here runs Python code",
        hint="run the program on a node, or give EnhancedVM a `python` runner",
    )


OPS = (python_execute,)
