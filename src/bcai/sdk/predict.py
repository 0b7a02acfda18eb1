"""What a model says of inputs, and how well it does: run here, on the virtual machine."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError
from bcai.base.suggest import nearest
from bcai.sdk.training_data import columns_of

if TYPE_CHECKING:
    from bcai.sdk.training import Model, Parameters
    from bcai.vm.isa.types import Array
    from bcai.vm.program.program import VerifiedProgram


def predict(
    model: "Model",
    inputs: Any,
    *,
    parameters: "Parameters | None" = None,
    batch_size: int = 256,
    output: str | None = None,
) -> "Array":
    """What a model says of some inputs, in evaluation mode.

    Parameters
    ----------
    model
        A PyTorch module; or a Program with its `parameters`, or the pair of both.
    inputs
        An array, or several as a sequence or by name, each with one row for each example.
    parameters
        Values in place of the model's own, by name.
    batch_size
        Rows at once; a Program's own batch is in its types.
    output
        Which one, of a model that has several.

    Returns
    -------
    One row for each example.

    Raises
    ------
    InputError
        Something is missing or does not fit; the message names it.
    """
    from bcai.sdk.training import require_count
    from bcai.vm.runtime.choose_backend import choose_backend

    require_count("batch_size", batch_size)
    columns = columns_of((inputs,) if hasattr(inputs, "dtype") else inputs)
    rows = _rows(columns)
    program, values = _evaluation(model, columns, min(batch_size, rows), parameters)
    ports = program.program.inputs
    if len(ports) != len(columns):
        names = ", ".join(port.name for port in ports)
        raise InputError(f"inputs: found {len(columns)}, the model takes {len(ports)}: {names}")
    is_named = all(isinstance(name, str) for name in columns)
    for name in columns:
        if is_named and name not in {port.name for port in ports}:
            known = nearest(str(name), [port.name for port in ports])
            raise InputError(f"inputs: the model takes no {name!r}; {known}")
    by_port = {
        port.name: columns[port.name if is_named else place] for place, port in enumerate(ports)
    }
    chosen = _chosen(program, output)
    size = _batch_of(program, chosen)
    executable = choose_backend().backend.compile(program)
    parts: list[Array] = []
    for start in range(0, rows, size):
        batch = {name: _filled(column[start:], size) for name, column in by_port.items()}
        parts.append(executable.run({**batch, **values})[chosen][: rows - start])
    import numpy as np

    return np.concatenate(parts)


def evaluate(
    model: "Model",
    data: Any,
    metrics: str | Sequence[str] = ("accuracy",),
    *,
    parameters: "Parameters | None" = None,
    batch_size: int = 256,
    output: str | None = None,
) -> dict[str, float]:
    """How well a model does on some data, in evaluation mode.

    Parameters
    ----------
    data
        As for `fit`: the target is the last column, or called `target`.
    metrics
        `accuracy` and `cross_entropy` (classes on axis 1), `mse`, `mae`; means in float64.

    Raises
    ------
    InputError
        Something does not fit; the message names it.
    """
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"metrics: no {unknown[0]!r}; {nearest(unknown[0], METRICS)}")
    columns = dict(columns_of(data))
    last: str | int = "target" if "target" in columns else list(columns)[-1]
    target = columns.pop(last)
    is_named = all(isinstance(name, str) for name in columns)
    inputs: Any = columns if is_named else tuple(columns.values())
    said = predict(model, inputs, parameters=parameters, batch_size=batch_size, output=output)
    return {name: METRICS[name](said, target) for name in metrics}


def _accuracy(output: "Array", target: "Array") -> float:
    _check_classes(output, target)
    return float((output.argmax(axis=1) == target).mean())


def _cross_entropy(output: "Array", target: "Array") -> float:
    import numpy as np

    _check_classes(output, target)
    scores = output.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(scores, np.expand_dims(target, 1), axis=1).squeeze(1)
    return float((np.log(np.exp(scores).sum(axis=1)) - chosen).mean())


def _mse(output: "Array", target: "Array") -> float:
    return float((_difference(output, target) ** 2).mean())


def _mae(output: "Array", target: "Array") -> float:
    return float(abs(_difference(output, target)).mean())


METRICS: "dict[str, Callable[[Array, Array], float]]" = {
    "accuracy": _accuracy,
    "cross_entropy": _cross_entropy,
    "mse": _mse,
    "mae": _mae,
}


def _check_classes(output: "Array", target: "Array") -> None:
    expected = (*output.shape[:1], *output.shape[2:])
    if output.ndim < 2 or target.shape != expected or target.dtype.kind not in "iu":
        raise InputError(
            f"target: found {target.dtype}{list(target.shape)} beside an output "
            f"{output.dtype}{list(output.shape)}, expected a whole number for each row"
        )
    classes = output.shape[1]
    wrong = target[(target < 0) | (target >= classes)]
    if wrong.size:
        raise InputError(f"target: found class {wrong[0]}, expected 0 to {classes - 1}")


def _difference(output: "Array", target: "Array") -> "Array":
    import numpy as np

    if output.shape != target.shape:
        raise InputError(
            f"target: found shape {list(target.shape)}, the output has {list(output.shape)}"
        )
    return output.astype(np.float64) - target.astype(np.float64)


def _chosen(program: "VerifiedProgram", output: str | None) -> str:
    state = {port.name for port in program.program.parameters}
    there = [name for name, _ in program.program.outputs if name not in state]
    if output is None and len(there) != 1:
        raise InputError(
            f"output: the model has {', '.join(there) or 'none'}", hint="name one with output="
        )
    if output is not None and output not in there:
        raise InputError(f"output: the model has no {output!r}; {nearest(output, there)}")
    return output or there[0]


def _batch_of(program: "VerifiedProgram", output: str) -> int:
    """Rows of a batch: of every input, and of what comes out."""
    types = {port.name: port.type for port in program.program.inputs}
    types[output] = program.output_types[output]
    first = {type_.shape[:1] for type_ in types.values()}
    if len(first) > 1 or () in first:
        found = ", ".join(f"{name!r} is {type_}" for name, type_ in types.items())
        raise InputError(f"model: expected the batch on the first axis of all: {found}")
    return first.pop()[0]


def _rows(columns: "Mapping[str | int, Array]") -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        found = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise InputError(f"inputs: expected the same number of rows, at least one: {found}")
    return min(lengths.values())


def _evaluation(
    model: "Model",
    columns: "Mapping[str | int, Array]",
    batch_size: int,
    parameters: "Parameters | None",
) -> "tuple[VerifiedProgram, dict[str, Any]]":
    """The model in evaluation mode, and its parameters' values."""
    from bcai.sdk.program import read_program
    from bcai.sdk.training import require_model

    require_model(model)
    if hasattr(model, "state_dict"):
        from bcai.sdk.torch import first_batch, from_torch

        module: Any = model
        program, own = from_torch(module, first_batch(columns, batch_size), train=False)
        known = {*own, *module.state_dict(), *(name for name, _ in module.named_buffers())}
        for name in parameters or ():
            if name not in known:
                raise InputError(f"parameters: the model has no {name!r}; {nearest(name, known)}")
        chosen: dict[str, Any] = {**own, **(parameters or {})}
    else:
        given: Any = model[0] if isinstance(model, tuple) else model
        program = read_program(given)
        chosen = {**(model[1] if isinstance(model, tuple) else {}), **(parameters or {})}
    names = [port.name for port in program.program.parameters]
    missing = [name for name in names if name not in chosen]
    if missing:
        raise InputError(f"parameters: {', '.join(missing[:5])} have no value")
    return program, {name: chosen[name] for name in names}


def _filled(column: "Array", size: int) -> "Array":
    """The first rows; the last batch is filled up with copies of its first."""
    import numpy as np

    if len(column) >= size:
        return np.ascontiguousarray(column[:size])
    return np.concatenate([column, np.repeat(column[:1], size - len(column), axis=0)])
