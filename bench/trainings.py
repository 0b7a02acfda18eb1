"""Trainings of the benches of evidence, planned as `bcai.fit` plans them."""

from dataclasses import dataclass
from typing import Any

import torch
from bench.models import WORKS

from bcai.proof.data import Data
from bcai.proof.execute import execute
from bcai.proof.feed import Feeder
from bcai.proof.recorder import Recorder, fixed_parameters
from bcai.sdk.training import SMALL_STATE_BYTES, plan_training
from bcai.vm.backends.native.backend import NativeBackend

TRAINED = {"mlp-32": (1000, 20), "cnn-32": (40, 20), "transformer-8": (20, 10)}
"""Steps of a training, and of one epoch."""


@dataclass(frozen=True)
class Last:
    """What is left of a training."""

    state: dict[str, Any]
    outputs: dict[str, Any]


class Training:
    """One model on random rows, with the default trace."""

    def __init__(self, name: str, threads: int, every: int | None = None) -> None:
        torch.manual_seed(0)
        work = WORKS[name]()
        self.name = name
        steps, batches = TRAINED[name]
        assert work.target is not None
        columns = [torch.cat([each] * batches) for each in (*work.inputs, work.target)]
        size = len(work.target)
        self.plan = plan_training(
            work.model, columns, loss="cross_entropy", batch_size=size, epochs=steps // batches,
            seed=1, checkpoint_every=every,
        )  # fmt: skip
        self.run, self.program = self.plan.run, self.plan.step
        self.feeder = Feeder(self.run, self.program, Data(self.plan.rows))
        self.fixed = fixed_parameters(self.program)
        self.executable = NativeBackend(threads=threads).compile(self.program)
        self.state_bytes = sum(each.nbytes for each in self.plan.state.values())
        self.is_large = self.state_bytes >= SMALL_STATE_BYTES

    def plain(self) -> None:
        """Train without a trace."""
        for _ in execute(self.feeder, self.program, self.executable, self.plan.state):
            pass

    def recorded(self, recorder: Recorder) -> Last:
        """Train with one."""
        last = None
        for last in execute(self.feeder, self.program, self.executable, self.plan.state):
            recorder.record(*last)
        assert last is not None
        return Last(last.state, last.outputs)
