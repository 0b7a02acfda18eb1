"""What a script can tell BCAI, and what it is given. Needs the standard library only.

Inside a job these talk to the node. Anywhere else they are harmless: `log` prints one plain line,
`output` and `progress` only check their arguments, `inputs` is empty. So the same script runs with
plain `python`.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, cast


class Reporter(Protocol):
    """Where reports go inside a job; `guest/channel.py` is the one."""

    def metric(self, step: int | None, values: dict[str, float]) -> None:
        """Pass on one point of the metrics."""
        ...

    def progress(self, fraction: float) -> None:
        """Pass on how far the job is."""
        ...

    def output(self, name: str, value: object) -> None:
        """Keep a named result."""
        ...


class TrainedState(NamedTuple):
    """What a training leaves: the state after the last step, each step's values, the receipt."""

    state: dict[str, Any]
    history: dict[str, Any]
    receipt: bytes


class Trainer(Protocol):
    """Who trains for a script inside a job; `guest/training.py` is the one."""

    def check(self) -> None:
        """Raise where no training can be asked for."""
        ...

    def train(
        self, program: bytes, run: bytes, rows: Mapping[str, Any], state: Mapping[str, Any]
    ) -> TrainedState:
        """Train; returns when it is over."""
        ...


_NAME_LENGTH_MAX = 200
_reporter: Reporter | None = None
_given: Mapping[str, Any] = {}
_trainer: Trainer | None = None


def report_to(reporter: Reporter) -> None:
    """Send all reports there from now on."""
    global _reporter  # one per process, set before the user's code starts
    _reporter = reporter


def read_from(given: Mapping[str, Any]) -> None:
    """Find the inputs there from now on."""
    global _given  # one per process, set before the user's code starts
    _given = given


def train_with(trainer: Trainer) -> None:
    """Let it do all trainings from now on."""
    global _trainer  # one per process, set before the user's code starts
    _trainer = trainer


def trainer() -> Trainer | None:
    """Who trains for this script; None outside of a job."""
    return _trainer


def given() -> Mapping[str, Any]:
    """Where the inputs are found."""
    return _given


class Inputs(Mapping[str, Any]):
    """The tensors that the job was given, by name; empty outside of a job.

    Each is a NumPy array that lies in memory shared with the node: nothing is copied until the
    script writes to it, which changes its own copy. `torch.from_numpy` and `torch.from_dlpack`
    take it as it is; for bfloat16, which NumPy cannot hand to torch, only the latter.
    """

    def __getitem__(self, name: str) -> Any:
        return _given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_given)

    def __len__(self) -> int:
        return len(_given)


inputs = Inputs()


def input(name: str) -> Any:
    """Return the tensor that the job was given under `name`; see `inputs`.

    Raises
    ------
    LookupError
        There is none of that name; the message lists those that there are.
    """
    if name in _given:
        return _given[name]
    there = ", ".join(map(repr, _given)) or "none: give it with inputs={...}, or --input NAME=FILE"
    raise LookupError(f"no input {_short(name)}; the job has {there}")


def log(step: int | None = None, **values: object) -> None:
    """Record metrics, such as `bcai.log(step=3, loss=0.12)`.

    Parameters
    ----------
    step
        A whole number that orders the points; optional.
    values
        Numbers: int, float, a tensor with one element, a NumPy scalar.

    Raises
    ------
    TypeError
        A value is not a number; the message names it.
    """
    if step is not None:
        step = _whole(step)
    numbers = {name: _number(name, value) for name, value in values.items()}
    if not numbers:
        raise TypeError("log() needs at least one value, such as log(step=3, loss=0.12)")
    if _reporter is not None:
        _reporter.metric(step, numbers)
        return
    words = [] if step is None else [f"step {step}"]
    words += [f"{name} {number:.6g}" for name, number in numbers.items()]
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def progress(fraction: float) -> None:
    """Say how far the job is, from 0 (begun) to 1 (done)."""
    number = _number("fraction", fraction)
    if math.isnan(number):
        raise ValueError("progress() got nan, expected a fraction from 0 to 1")
    if _reporter is not None:
        _reporter.progress(min(1.0, max(0.0, number)))


def output(name: str, value: object) -> None:
    """Keep `value` as a result of the job under `name`, as it is now.

    Parameters
    ----------
    name
        Up to 200 characters without `/`; it may look like a file name, such as `curves.png`.
    value
        A number, string, or list or dict of these; an array or tensor; a module or a dict of
        tensors (kept as a state_dict); a verified program (kept as its canonical bytes); bytes, or
        the `pathlib.Path` of a file to keep.
    """
    check_output_name(name)
    if _reporter is not None:
        _reporter.output(name, value)


def check_output_name(name: object) -> str:
    """Return `name` if a result may be called so.

    Raises
    ------
    TypeError, ValueError
        It is not a string, or it is empty, too long, or could be taken for a path.
    """
    if not isinstance(name, str):
        raise TypeError(f"output() got the name {name!r}, expected a string")
    plain = name.isprintable() and "/" not in name and "\\" not in name
    if not plain or name in ("", ".", "..") or len(name) > _NAME_LENGTH_MAX:
        raise ValueError(
            f"output() got the name {name[:80]!r}, expected 1 to {_NAME_LENGTH_MAX} printable "
            "characters without '/' or '\\'"
        )
    return name


def _whole(step: object) -> int:
    if not isinstance(step, bool):
        index = getattr(step, "__index__", None)
        if index is not None:
            try:
                return int(cast("Callable[[], int]", index)())
            except TypeError:
                pass  # an array with many elements
    raise TypeError(
        f"log() got step={_short(step)} ({type(step).__name__}), expected a whole number"
    )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    item = getattr(value, "item", None)  # NumPy scalars and tensors
    if item is not None and getattr(value, "size", None) is not None:
        try:
            found = cast("Callable[[], object]", item)()
        except (TypeError, ValueError, RuntimeError):
            found = None  # more than one element
        if isinstance(found, bool | int | float):
            return float(found)
    raise TypeError(
        f"{name} is {_short(value)} ({type(value).__name__}), expected a number, "
        "a tensor with one element or a NumPy scalar"
    )


def _short(value: object) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."
