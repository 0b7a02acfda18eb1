"""Whoever trains a model, on whichever processor and threads, signs one root of one trace.

The models are trained on the digits as `bcai.fit` trains them. What all are held against is the
definition.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.conformance.vm.golden.emulator import emulation_missing
from tests.conformance.vm.golden.laid import Laid
from tests.conformance.vm.golden.machines import targets_here

from bcai.proof.data import Data
from bcai.proof.execute import execute
from bcai.proof.feed import Feeder
from bcai.proof.recorder import Recorder, Trace, fixed_parameters
from bcai.sdk.training import TrainingPlan, plan_training
from bcai.vm.backends.native.executable import NativeExecutable, open_machine
from bcai.vm.backends.native.target import AVX2, AVX512, NEON, SSE, Target
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler.backend import Executable, Observer
from bcai.vm.isa.types import Array

torch: Any = pytest.importorskip("torch", reason="the models are PyTorch's: pip install 'bcai[ml]'")
datasets: Any = pytest.importorskip(
    "sklearn.datasets", reason="the digits are scikit-learn's: pip install 'bcai[ml]'"
)

LONG_ROWS, LONG_BATCH = 512, 64
"""Of the slow tests: work that threads share."""


@dataclass(frozen=True, slots=True)
class Emulated:
    """A step on a processor that this is not."""

    laid: Laid
    bytes_peak: int = 0

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        return self.laid.run(values)

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        raise NotImplementedError("a trace is recorded from whole steps")


class Rows(torch.nn.Module):
    """A picture as a sentence of its rows, through a transformer's layer with dropout."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.words, self.places = torch.nn.Linear(8, 16), torch.nn.Embedding(8, 16)
        self.layer = torch.nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        h = self.words(x.reshape(-1, 8, 8)) + self.places(torch.arange(8))
        return self.head(self.layer(h).mean(dim=1))


def mlp() -> Any:
    return torch.nn.Sequential(
        torch.nn.Linear(64, 48), torch.nn.GELU(), torch.nn.Dropout(0.2), torch.nn.Linear(48, 10)
    )


def cnn() -> Any:
    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8, 8)),
        *(torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.BatchNorm2d(6), torch.nn.ReLU()),
        *(torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(96, 10)),
    )


MODELS: Mapping[str, Callable[[], Any]] = {"mlp": mlp, "cnn": cnn, "transformer": Rows}
MACHINES = [
    pytest.param(target, threads, id=f"{target.name}-{threads}", marks=marks)
    for target, threads, marks in (
        (AVX512, 2, ()),
        (AVX2, 1, ()),
        (AVX512, 1, pytest.mark.slow),
        (AVX2, 2, pytest.mark.slow),
        (SSE, 1, pytest.mark.slow),
        (SSE, 2, pytest.mark.slow),
        (NEON, 1, pytest.mark.slow),
    )
]


@cache
def planned(model: str, rows: int, batch_size: int) -> TrainingPlan:
    """What is committed to before anybody starts."""
    torch.manual_seed(0)
    x, y = datasets.load_digits(return_X_y=True)
    data = (x[:rows].astype(np.float32) / 16, y[:rows].astype(np.int64))
    return plan_training(
        MODELS[model](), data, loss="cross_entropy", batch_size=batch_size, epochs=2, seed=5,
        learning_rate={0: 0.01, 8: 0.001}, max_norm=1.0, checkpoint_every=3,
    )  # fmt: skip


def trained(plan: TrainingPlan, executable: Executable) -> Trace:
    recorder = Recorder(plan.run, fixed=fixed_parameters(plan.step))
    feeder = Feeder(plan.run, plan.step, Data(plan.rows))
    for step in execute(feeder, plan.step, executable, plan.state):
        recorder.record(*step)
    return recorder.finish()


@cache
def defined(model: str, rows: int, batch_size: int) -> Trace:
    plan = planned(model, rows, batch_size)
    return trained(plan, ReferenceBackend().compile(plan.step))


def machine_of(plan: TrainingPlan, target: Target, threads: int) -> Executable:
    """A step on a processor; skips where there is none."""
    if target in targets_here():
        machine = replace(open_machine(None, threads, time.perf_counter), target=target)
        return NativeExecutable(plan.step, machine)
    reason = emulation_missing() if target is NEON else "another processor has it"
    if reason:
        pytest.skip(f"no {target.name} here: {reason}")
    return Emulated(Laid(plan.step, target, 1))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("target", "threads"), MACHINES)
def test_every_processor_signs_one_root(model: str, target: Target, threads: int) -> None:
    plan = planned(model, 64, 16)
    trace = trained(plan, machine_of(plan, target, threads))
    assert trace.head == defined(model, 64, 16).head
    assert len(trace.checkpoints) == plan.run.checkpoints == 3
    assert trace.final_state != plan.run.first_state


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_more_work_on_all_processors_here_and_any_threads_has_one_root(model: str) -> None:
    plan = planned(model, LONG_ROWS, LONG_BATCH)
    if not targets_here():
        pytest.skip("no code for this processor; x86-64 or AArch64 has")
    heads = {
        trained(plan, machine_of(plan, target, threads)).head
        for target in targets_here()
        for threads in (1, 2)
    }
    assert len(heads) == 1


def test_a_root_sees_a_bit() -> None:
    plan = planned("mlp", 64, 16)
    name = plan.parameters[0]
    changed = plan.state[name].copy()
    changed.reshape(-1).view(np.uint8)[0] ^= 1
    other = replace(plan, state={**plan.state, name: changed})
    found = trained(other, ReferenceBackend().compile(plan.step))
    assert found.head != defined("mlp", 64, 16).head
