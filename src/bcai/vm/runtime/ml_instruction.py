"""`MLInstruction`: the instruction set as the architecture document writes it.

    MLInstruction.Linear(input_id=TensorId(1), weight_id=TensorId(2), output_id=TensorId(3))

Every instruction of the set is there, generated from its declaration, with its operands as `x` or
`x_id`, its attributes as keywords, and its results as `output` (`output_id`) or `outputs`; and
those of the reference documents under their names. `help(MLInstruction.Linear)` shows the fields.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import cast

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Op
from bcai.vm.isa.versions import LATEST
from bcai.vm.runtime.documented import DOCUMENTED
from bcai.vm.runtime.form import Fields, Form
from bcai.vm.runtime.generated import generated_form

FORMS: Mapping[str, Form] = MappingProxyType(
    {name: generated_form(op) for name, op in sorted(LATEST.by_name.items())}
    | {form.name: form for form in DOCUMENTED}
)
_TENSOR_OP = "TensorOp"


class _Catalogue(type):
    """Gives `MLInstruction` one attribute for each form."""

    def __getattr__(cls, name: str) -> "Callable[..., MLInstruction]":
        if not name[:1].isupper():  # such as a dataclass looking for defaults
            raise AttributeError(name)
        return _maker(name)

    def __dir__(cls) -> Iterable[str]:
        return sorted({*super().__dir__(), *FORMS, _TENSOR_OP})


@dataclass(frozen=True, slots=True, eq=False)
class MLInstruction(metaclass=_Catalogue):
    """One instruction over tensors named by `TensorId`; made by `MLInstruction.Relu(...)`."""

    form: Form
    fields: Fields

    def __str__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.fields.items() if value is not None]
        return f"{self.form.name}({', '.join(shown)})"

    def __repr__(self) -> str:
        return f"MLInstruction.{self}"


@cache
def _maker(name: str) -> "Callable[..., MLInstruction]":
    """Return the function that makes instructions of one form, with its manual."""
    if name == _TENSOR_OP:
        return _tensor_op
    form = FORMS.get(name)
    if form is None:
        near = get_close_matches(name, [*FORMS, _TENSOR_OP], n=1)
        ending = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"MLInstruction has no {name!r}{ending}")

    def make(**fields: object) -> MLInstruction:
        return MLInstruction(form, form.bind(fields))

    make.__name__ = name
    make.__qualname__ = f"MLInstruction.{name}"
    make.__doc__ = form.manual
    vars(make)["__signature__"] = form.signature
    return make


def _tensor_op(*, op: object, inputs: object = (), **fields: object) -> MLInstruction:
    """Any instruction by its name, with its operands in order.

    Fields:
        op: such as "MatMul", or MLInstruction.MatMul
        inputs: the operands' ids, in order
        output | output_id, outputs | output_ids: where the results go
        and the instruction's own attributes
    """
    name = op if isinstance(op, str) else getattr(op, "name", getattr(op, "__name__", ""))
    declared: Op | None = LATEST.by_name.get(cast("str", name))
    if declared is None:
        near = get_close_matches(str(name), LATEST.by_name, n=1)
        ending = f"; did you mean {near[0]!r}?" if near else ""
        raise VerifyError(f"TensorOp: no instruction {op!r}{ending}")
    if not isinstance(inputs, list | tuple):
        raise VerifyError(f"TensorOp: inputs: found {inputs!r}, expected a list of tensors")
    given = list(cast("list[object]", inputs))
    plain = declared.operands[:-1] if declared.variadic else declared.operands
    if len(given) > len(plain) and not declared.variadic:
        raise VerifyError(f"TensorOp: {name} takes {', '.join(plain)}; found {len(given)} inputs")
    operands: dict[str, object] = dict(zip(plain, given, strict=False))
    if declared.variadic:
        operands[declared.operands[-1]] = given[len(plain) :]
    form = generated_form(declared)
    return MLInstruction(form, form.bind({**operands, **fields}))
