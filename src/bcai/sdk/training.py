"""A training as a job: a model, its data and its options become one Program and one Run.

Everything that decides the result is fixed here, before the job is sent: the program of one step,
the rows and their order, the seed, the learning rate of each step and the state to start from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError
from bcai.base.suggest import nearest
from bcai.base.units import MIB, format_count
from bcai.jobs.spec import JobKind, Mount
from bcai.jobs.training import CHECKPOINTS, ENTRY, ROWS, RUN, STATE
from bcai.sdk.draft import Draft, Quantity, checked_draft
from bcai.sdk.folder import LocalFile
from bcai.sdk.learning_rate import LearningRate, knots_of
from bcai.sdk.training_data import columns_of, warn_of_columns

if TYPE_CHECKING:
    from bcai.proof.recorder import Trace
    from bcai.proof.run import Run
    from bcai.sdk.torch import Module
    from bcai.vm.compiler.training_step import Optimizer
    from bcai.vm.isa.types import Array
    from bcai.vm.program.program import Program, VerifiedProgram

    Parameters = Mapping[str, Any]
    Model = (
        Module | Program | VerifiedProgram | bytes | str | PathLike[str]
        | tuple[VerifiedProgram, Parameters]
    )  # fmt: skip

SMALL_STATE_BYTES = 4 * MIB
_NOT_DATA = ("learning_rate", "seed", "step")


@dataclass(frozen=True, slots=True)
class Start:
    """Where an earlier run of the same kind stopped: its state, and the trace up to there."""

    state: "Mapping[str, Array]"
    trace: "Trace"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What will be done, complete.

    Attributes
    ----------
    forward
        The model with its loss.
    step
        One step of the training: forward, backward, update.
    run
        What the job commits to.
    parameters
        Names of the model's own parameters; the state has the optimizer's beside them.
    """

    forward: "VerifiedProgram"
    step: "VerifiedProgram"
    run: "Run"
    rows: "dict[str, Array]"
    state: "dict[str, Array]"
    parameters: tuple[str, ...]
    start: Start | None = None


def plan_training(
    model: "Model",
    data: Any,
    *,
    loss: "str | Callable[[Any, Any], Any] | None" = None,
    optimizer: "str | Optimizer" = "adamw",
    learning_rate: LearningRate = 1e-3,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    shuffle: bool = True,
    max_norm: float | None = None,
    parameters: "Parameters | None" = None,
    checkpoint_every: int | None = None,
) -> TrainingPlan:
    """Fix everything that decides a training's result; see `fit` for the parameters.

    Raises
    ------
    InputError
        Something is wrong; the message names it.
    """
    from bcai.proof.data import Data
    from bcai.proof.feed import Feeder
    from bcai.proof.run import Batches, Run
    from bcai.proof.state import canonical_tensors, tensors_root
    from bcai.vm.compiler.training_step import training_step
    from bcai.vm.program.merkle import program_root

    columns = columns_of(data)
    warn_of_columns(columns)
    batches = _batches(columns, batch_size)
    require_count("epochs", epochs)
    if checkpoint_every is not None:
        require_count("checkpoint_every", checkpoint_every)
    forward, values = _forward(model, columns, batch_size, loss, parameters)
    ports = [port.name for port in forward.program.inputs if port.name not in _NOT_DATA]
    names = _columns_of_ports(ports, columns)
    training = training_step(forward, _optimizer(optimizer), max_norm=max_norm)
    state = canonical_tensors({**values, **training.first_state})
    rows = Data({port: columns[column] for port, column in names.items()})
    steps = epochs * batches
    run = Run(
        program_root=program_root(training.program.program),
        isa_version=training.program.program.isa_version,
        steps=steps,
        first_state=tensors_root(state),
        seed=seed,
        feed=Batches(rows.root, rows.rows, batch_size, shuffle, {port: port for port in ports}),
        schedules={"learning_rate": knots_of(learning_rate, steps)},
        checkpoint_every=checkpoint_every or _usual_checkpoints(state),
    )
    Feeder(run, training.program, rows)  # raises here what a node would refuse
    return TrainingPlan(forward, training.program, run, rows.columns, state, tuple(values))


def draft_training(
    plan: TrainingPlan,
    *,
    name: str | None = None,
    limits: Mapping[str, Quantity] | None = None,
    timeout: float | str = 3600,
    max_retries: int = 3,
    labels: Mapping[str, str] | None = None,
    verify: str = "none",
) -> Draft:
    """Put a plan in a submission."""
    from safetensors.numpy import save

    from bcai.proof.run import encode_run
    from bcai.proof.trace_file import encode_trace
    from bcai.vm.program.codec import encode_program

    start = plan.start
    content = {
        (ENTRY, Mount.PROJECT): encode_program(plan.step.program),
        (RUN, Mount.PROJECT): encode_run(plan.run),
        (ROWS, Mount.DATA): save(plan.rows),
        (STATE, Mount.DATA): save(dict(start.state) if start else plan.state),
    }
    if start is not None:
        content[CHECKPOINTS, Mount.PROJECT] = encode_trace(start.trace)
    files = [
        LocalFile(Path(path), path, len(data), mount, data)
        for (path, mount), data in content.items()
    ]
    fields: dict[str, Any] = {
        "kind": JobKind.TRAINING,
        "name": name or "training",
        "entry": ENTRY,
        "limits": limits,
        "timeout": timeout,
        "max_retries": max_retries,
        "labels": labels,
        "verify": verify,
    }
    return checked_draft(fields, files)


def _usual_checkpoints(state: "Mapping[str, Array]") -> int:
    """Steps between two checkpoints: a small model steps faster than its state is hashed."""
    from bcai.proof.run import CHECKPOINT_EVERY

    size = sum(each.nbytes for each in state.values())
    return CHECKPOINT_EVERY if size >= SMALL_STATE_BYTES else 10 * CHECKPOINT_EVERY


def require_count(name: str, value: object) -> None:
    """Raise InputError for what is no whole number above 0."""
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name}: found {value!r}, expected a whole number above 0")


def _batches(columns: "Mapping[str | int, Array]", batch_size: int) -> int:
    """Whole batches in the data."""
    require_count("batch_size", batch_size)
    lengths = {name: len(column) for name, column in columns.items()}
    rows = min(lengths.values())
    if len(set(lengths.values())) > 1 or not rows:
        found = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise InputError(f"data: expected the same number of rows, at least one: {found}")
    if rows < batch_size:
        raise InputError(
            f"batch_size: found {batch_size}, but the data has {format_count(rows, 'example')}: "
            "only whole batches are used",
            hint=f"give batch_size={rows}, or less",
        )
    return rows // batch_size


def require_model(model: object) -> None:
    """Raise InputError for what cannot be a model: a class in place of its instance, or None."""
    if isinstance(model, type):
        raise InputError(f"model: found the class {model.__name__}, expected an instance of it")
    if model is None:
        raise InputError("model: found None, expected a PyTorch module or a Program")


def _forward(
    model: "Model",
    columns: "Mapping[str | int, Array]",
    batch_size: int,
    loss: Any,
    parameters: "Parameters | None",
) -> "tuple[VerifiedProgram, Parameters]":
    """The model with its loss as a program, and what its parameters start at."""
    from bcai.sdk.program import read_program

    require_model(model)
    if hasattr(model, "state_dict"):
        from bcai.sdk.torch import first_batch, from_torch

        if loss is None:
            raise InputError("loss: a PyTorch module needs one, such as 'cross_entropy'")
        if parameters is not None:
            raise InputError("parameters: a PyTorch module has its own; leave this out")
        module: Any = model
        return from_torch(module, first_batch(columns, batch_size), loss=loss, train=True)
    if loss is not None:
        raise InputError("loss: a Program has its own, the output 'loss'; leave this out")
    program, values = model if isinstance(model, tuple) else (model, parameters or {})
    verified = read_program(program)  # pyright: ignore[reportArgumentType]
    missing = sorted({port.name for port in verified.program.parameters} - set(values))
    if missing:
        raise InputError(
            f"parameters: {', '.join(missing[:5])} have no value to start from",
            hint="give them as parameters={name: array}",
        )
    return verified, values


def _columns_of_ports(
    ports: Sequence[str], columns: "Mapping[str | int, Array]"
) -> "dict[str, str | int]":
    """Which column each input of the program takes."""
    if len(ports) != len(columns):
        raise InputError(
            f"data: found {len(columns)} columns, the model takes {len(ports)}: {', '.join(ports)}"
        )
    if all(isinstance(name, int) for name in columns):
        return dict(zip(ports, columns, strict=True))
    for name in columns:
        if name not in ports:
            raise InputError(f"data: no input is called {name!r}; {nearest(str(name), ports)}")
    return {port: port for port in ports}


def _optimizer(optimizer: "str | Optimizer") -> "Optimizer":
    from bcai.vm.compiler.training_step import AdamW, Sgd

    if not isinstance(optimizer, str):
        return optimizer
    known: dict[str, Optimizer] = {
        "adamw": AdamW(),
        "adam": AdamW(weight_decay=0.0, decoupled=False),
        "sgd": Sgd(),
    }
    if optimizer.lower() not in known:
        raise InputError(f"optimizer: found {optimizer!r}; {nearest(optimizer, known)}")
    return known[optimizer.lower()]
