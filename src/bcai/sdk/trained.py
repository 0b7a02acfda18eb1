"""A model after its training: what it learned, how it went, and the evidence of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError
from bcai.bridge.report import TrainedState
from bcai.jobs.training import FINAL_STATE, HISTORY
from bcai.sdk.arrays import read_arrays
from bcai.sdk.result import Result
from bcai.sdk.save import RECEIPT, saving, write_result
from bcai.sdk.training import TrainingPlan
from bcai.sdk.whole_files import swapped_in, write_synced

if TYPE_CHECKING:
    from bcai.proof.receipt import Receipt
    from bcai.proof.recorder import Trace
    from bcai.proof.run import Run
    from bcai.sdk.training import Model
    from bcai.vm.isa.types import Array


@dataclass(frozen=True, slots=True, repr=False)
class Trained:
    """A model after its training.

    Attributes
    ----------
    model
        What was given to `fit`; it is not changed. `bcai.to_torch` puts the weights in a module.
    parameters
        The model's parameters and buffers after the last step, by name.
    state
        These and the optimizer's: where a further run would start.
    history
        What each step put out, such as `loss`: float32[steps].
    run
        What was committed before the job started.
    trace
        The checkpoints of the run, with the root of its state at each.
    receipt_bytes
        What the node signed, as the file that `bcai receipt check` reads.
    job_result
        The result of the training's own job; None if it was trained within another job.
    rows, first_state
        What the run started from: with the receipt, all that it takes to do it again.
    """

    model: "Model"
    parameters: "dict[str, Array]"
    state: "dict[str, Array]"
    history: "dict[str, Array]"
    run: "Run"
    trace: "Trace"
    receipt_bytes: bytes
    job_result: Result | None
    rows: "dict[str, Array]"
    first_state: "dict[str, Array]"

    def __repr__(self) -> str:
        """Sum it up: the parameters of a model would fill the screen."""
        last = "".join(f", {name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"<Trained: {self.run.steps} steps{last}, state {self.trace.final_state.hex()[:16]}>"

    @property
    def losses(self) -> "Array":
        """The loss of each step: float32[steps]."""
        return self.history["loss"]

    @property
    def result(self) -> Result:
        """The job's result, with the node's receipt.

        Raises
        ------
        InputError
            This is within a job, whose result is not there before its end.
        """
        if self.job_result is None:
            raise InputError(
                "result: trained within a job, which has no result before it ends",
                hint="the receipt is here already: .receipt; the job's own result has it, too",
            )
        return self.job_result

    @property
    def receipt(self) -> "Receipt":
        """What the node signed. It is not yet checked."""
        from bcai.proof.receipt import decode_receipt

        return decode_receipt(self.receipt_bytes)

    def predict(self, inputs: Any, *, batch_size: int = 256, output: str | None = None) -> "Array":
        """What the trained model says of some inputs; see `bcai.predict`."""
        from bcai.sdk.predict import predict

        return predict(
            self.model, inputs, parameters=self.parameters, batch_size=batch_size, output=output
        )

    def evaluate(
        self,
        data: Any,
        metrics: str | Sequence[str] = ("accuracy",),
        *,
        batch_size: int = 256,
        output: str | None = None,
    ) -> dict[str, float]:
        """How well the trained model does on some data; see `bcai.evaluate`."""
        from bcai.sdk.predict import evaluate

        return evaluate(
            self.model,
            data,
            metrics,
            parameters=self.parameters,
            batch_size=batch_size,
            output=output,
        )

    def save(self, folder: str | PathLike[str]) -> dict[str, Path]:
        """Write everything to a folder; see `Result.save`.

        With `rows.safetensors` and `first_state.safetensors`, `bcai replay` does the run again.
        """
        from safetensors.numpy import save

        tensors = {"rows": self.rows, "first_state": self.first_state}
        place, result = Path(folder), self.job_result
        if result is None:
            tensors |= {FINAL_STATE: self.state, HISTORY: self.history}
        with swapped_in(place) if result is None else saving(result, place) as beside:
            if result is not None:
                written = write_result(result, beside)
            else:
                written = {"receipt": beside / RECEIPT}
                write_synced(written["receipt"], self.receipt_bytes)
            for name, values in tensors.items():
                written[name] = beside / f"{name}.safetensors"
                write_synced(written[name], save(values))
        return {name: place / path.name for name, path in written.items()}


def trained_in_job(model: "Model", plan: TrainingPlan, left: TrainedState) -> Trained:
    """What the node of a script's job left."""
    from bcai.proof.receipt import decode_receipt

    return Trained(
        model=model,
        parameters={name: left.state[name] for name in plan.parameters},
        state=left.state,
        history=left.history,
        run=plan.run,
        trace=decode_receipt(left.receipt).trace,
        receipt_bytes=left.receipt,
        job_result=None,
        rows=plan.rows,
        first_state=plan.state,
    )


def trained_by_job(
    model: "Model", plan: TrainingPlan, result: Result, earlier: "Mapping[str, Array]"
) -> Trained:
    """What a training's own job left; `earlier` is the history of the run that it went on from."""
    import numpy as np

    from bcai.proof.receipt import decode_receipt

    content = result.outputs.content(FINAL_STATE)
    state = read_arrays(content, FINAL_STATE, widen=False)
    found: dict[str, Array] = result.outputs[HISTORY]
    history = {
        name: np.concatenate([earlier.get(name, values[:0]), values])
        for name, values in found.items()
    }
    receipt = result.receipt_bytes
    assert receipt is not None, "every training leaves a receipt"
    return Trained(
        model=model,
        parameters={name: state[name] for name in plan.parameters},
        state=state,
        history=history,
        run=plan.run,
        trace=decode_receipt(receipt).trace,
        receipt_bytes=receipt,
        job_result=result,
        rows=plan.rows,
        first_state=plan.state,
    )
