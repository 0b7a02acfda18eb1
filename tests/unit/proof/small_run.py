"""A small classifier with everything a run can have: batches, shuffling, dropout, a schedule."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bcai.proof.commitment import UsageClaim
from bcai.proof.data import Data
from bcai.proof.execute import begin, execute
from bcai.proof.feed import Feeder
from bcai.proof.issue import Circumstances, issue_receipt
from bcai.proof.keys import SigningKey
from bcai.proof.receipt import Receipt
from bcai.proof.recorder import Recorder, Trace, fixed_parameters
from bcai.proof.run import Batches, Run
from bcai.proof.schedule import Knot
from bcai.proof.state import canonical_tensors, tensors_root
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler.backend import Executable
from bcai.vm.compiler.training_step import AdamW, training_step
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import VerifiedProgram

FEATURES, HIDDEN, CLASSES = 6, 5, 3
BATCH, ROWS, STEPS, EVERY = 4, 22, 12, 5

NODE, OTHER_NODE, CLIENT = (SigningKey.from_random(bytes([n]) * 32) for n in (1, 2, 3))
PLACE = Circumstances(
    "job_1", "reference", "NumPy", "cpu", "full", ("namespaces",), UsageClaim(1.5, 1.25, 4096), 1e9
)


@dataclass(frozen=True)
class Training:
    """A run with all that it needs."""

    run: Run
    program: VerifiedProgram
    data: Data
    state: dict[str, Array]

    def feeder(self) -> Feeder:
        return Feeder(self.run, self.program, self.data)

    def compiled(self) -> Executable:
        return ReferenceBackend().compile(self.program)

    def trace(self, executable: Executable | None = None) -> Trace:
        recorder = Recorder(self.run, fixed=fixed_parameters(self.program))
        state = begin(self.run, self.program, self.state)
        done = executable or self.compiled()
        for step in execute(self.feeder(), self.program, done, state):
            recorder.record(*step)
        return recorder.finish()

    def receipt(
        self, key: SigningKey = NODE, *, executable: Executable | None = None, **parts: Any
    ) -> Receipt:
        """What an honest node with this executable hands over."""
        recorder = Recorder(self.run, fixed=fixed_parameters(self.program))
        done = executable or self.compiled()
        steps = execute(self.feeder(), self.program, done, self.state)
        last = next(steps)
        recorder.record(*last)
        for last in steps:
            recorder.record(*last)
        return issue_receipt(
            self.run, self.program, recorder.finish(), state=last.state, outputs=last.outputs,
            output_roots=recorder.output_roots, circumstances=PLACE, key=key, **parts,
        )  # fmt: skip

    def with_run(self, **changes: Any) -> "Training":
        return replace(self, run=replace(self.run, **changes))


def classifier(*, dropout: bool = True) -> VerifiedProgram:
    """One step of training `y = W2 dropout(relu(W1 x))`; `scale` is a parameter that stays."""
    build = Builder()
    x = build.input("x", f"float32[{BATCH},{FEATURES}]")
    target = build.input("target", f"int64[{BATCH}]")
    seed, step = build.input("seed", "int64[]"), build.input("step", "int64[]")
    w1 = build.parameter("w1", f"float32[{HIDDEN},{FEATURES}]")
    w2 = build.parameter("w2", f"float32[{CLASSES},{HIDDEN}]")
    scale = build.parameter("scale", "int64[]")
    hidden = (x.emit("MatMul", w1.emit("Permute", axes=(1, 0)))).emit("Relu")
    if dropout:
        hidden = hidden.emit("Dropout", seed, step, p=0.25, stream=0)
    y = hidden.emit("MatMul", w2.emit("Permute", axes=(1, 0)))
    forward = build.finish(loss=y.emit("CrossEntropy", target), scaled=scale + scale)
    return training_step(forward, AdamW()).program


def training() -> Training:
    """The same run every time."""
    program = classifier()
    random = np.random.default_rng(5)
    data = Data({
        "features": random.normal(size=(ROWS, FEATURES)).astype(np.float32),
        "label": random.integers(0, CLASSES, ROWS),
    })  # fmt: skip
    state = canonical_tensors({
        port.name: np.asarray(random.normal(size=port.type.shape)).astype(port.type.dtype.numpy)
        if port.name.startswith("w") or port.name == "scale"
        else np.full(port.type.shape, "power" in port.name, port.type.dtype.numpy)
        for port in program.program.parameters
    })  # fmt: skip
    feed = Batches(data.root, data.rows, BATCH, True, {"x": "features", "target": "label"})
    rate = (Knot(0, 0.1), Knot(4, 0.1), Knot(11, 0.01))
    run = Run(
        program_root(program.program), program.program.isa_version, STEPS, tensors_root(state),
        -77, feed, {"learning_rate": rate}, EVERY,
    )  # fmt: skip
    return Training(run, program, data, state)
