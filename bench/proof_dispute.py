"""A training of 200 steps on the digits with one wrong bit in step 137: found, and at what price.

    python -m bench.proof_dispute [--steps 200] [--wrong 137]

An honest side on the native backend stands against one that flips a bit of one gradient. Prints
where the dispute ended, with messages, bytes and seconds, and what the receipt and its check cost.
"""

import argparse
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from tests.unit.proof.liars import WrongExecutable

from bcai.base.units import format_size
from bcai.proof.bisection import Case
from bcai.proof.check import check_receipt
from bcai.proof.commitment import UsageClaim
from bcai.proof.data import Data
from bcai.proof.execute import Step, execute
from bcai.proof.feed import Feeder
from bcai.proof.issue import Circumstances, issue_receipt
from bcai.proof.keys import SigningKey
from bcai.proof.messages import Side
from bcai.proof.receipt import decode_receipt, encode_receipt
from bcai.proof.recorder import Recorder, Trace, fixed_parameters
from bcai.proof.replay import replay
from bcai.proof.run import Batches, Run
from bcai.proof.schedule import Knot
from bcai.proof.settle import settle
from bcai.proof.side import ReplayingSide
from bcai.proof.state import tensors_root
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.compiler.backend import Executable
from bcai.vm.compiler.training_step import AdamW, training_step
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import VerifiedProgram

BATCH = 32


def program() -> VerifiedProgram:
    build = Builder()
    x, target = build.input("x", f"float32[{BATCH},64]"), build.input("target", f"int64[{BATCH}]")
    seed, step = build.input("seed", "int64[]"), build.input("step", "int64[]")
    layers: list[tuple[Any, Any]] = []
    for n, (into, out) in enumerate(((64, 128), (128, 128), (128, 10))):
        w = build.parameter(f"w{n}", f"float32[{out},{into}]")
        layers.append((w, build.parameter(f"b{n}", f"float32[{out}]")))
    for w, b in layers[:-1]:
        x = (
            x.emit("Linear", w, b)
            .emit("Relu")
            .emit("Dropout", seed, step, p=0.1, stream=int(w.index))
        )
    y = x.emit("Linear", *layers[-1])
    return training_step(build.finish(loss=y.emit("CrossEntropy", target)), AdamW()).program


def first_state(program: VerifiedProgram) -> dict[str, Array]:
    random = np.random.default_rng(0)
    state: dict[str, Array] = {}
    for port in program.program.parameters:
        scale = 0.1 if port.name[0] == "w" else 0.0
        first = 1.0 if "power" in port.name else random.normal(size=port.type.shape) * scale
        state[port.name] = np.full(port.type.shape, first, port.type.dtype.numpy)
    return state


def training(step: VerifiedProgram, state: dict[str, Array], steps: int) -> Feeder:
    """So many steps on the digits."""
    x, target = load_digits(return_X_y=True)
    data = Data({"x": (x / 16).astype(np.float32), "target": target.astype(np.int64)})
    feed = Batches(data.root, data.rows, BATCH, True, {"x": "x", "target": "target"})
    run = Run(
        program_root(step.program), step.program.isa_version, steps, tensors_root(state), 7,
        feed, {"learning_rate": (Knot(0, 1e-3), Knot(steps, 1e-4))},
    )  # fmt: skip
    return Feeder(run, step, data)


def last_product(step: VerifiedProgram) -> int:
    """Position of an instruction that computes a gradient."""
    kinds = [each.op.name for each in step.program.instructions]
    return max(place for place, kind in enumerate(kinds) if kind == "MatMul")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--wrong", type=int, default=137)
    given = parser.parse_args()
    step = program()
    state = first_state(step)
    feeder = training(step, state, given.steps)
    run = feeder.run
    native = NativeBackend().compile(step)
    kinds = [each.op.name for each in step.program.instructions]
    position = last_product(step)
    wrong = WrongExecutable(step, given.wrong, position, honest=native)
    print(
        f"{len(kinds)} instructions a step, {given.steps} steps, batch {BATCH}; wrong is one bit of"
    )
    print(f"instruction {position} ({kinds[position]}) in step {given.wrong}\n")
    honest, last, roots = record(run, step, feeder, native, state)
    lie, _, _ = record(run, step, feeder, wrong, state)
    receipts(run, step, honest, last, roots)
    replayed(feeder, step, lie, state)
    disputed(run, step, feeder, {Side.A: (honest, native), Side.B: (lie, wrong)}, state)


def record(
    run: Run, program: VerifiedProgram, feeder: Feeder, executable: Executable, state: Any
) -> tuple[Trace, Step, tuple[bytes, ...]]:
    recorder = Recorder(run, fixed=fixed_parameters(program))
    steps = execute(feeder, program, executable, state)
    last = next(steps)
    recorder.record(*last)
    for last in steps:
        recorder.record(*last)
    return recorder.finish(), last, recorder.output_roots


def receipts(
    run: Run, program: VerifiedProgram, trace: Trace, last: Step, roots: tuple[bytes, ...]
) -> None:
    place = Circumstances("job", "native", "", "", "none", (), UsageClaim(), 0.0)
    receipt = issue_receipt(
        run, program, trace, state=last.state, outputs=last.outputs, output_roots=roots,
        circumstances=place, key=SigningKey.from_random(bytes(32)),
    )  # fmt: skip
    data = encode_receipt(receipt)
    times: list[tuple[float, float]] = []
    for _ in range(9):
        started = time.perf_counter()
        found = decode_receipt(data)
        read = time.perf_counter()
        assert check_receipt(found).is_clean
        times.append((read - started, time.perf_counter() - read))
    read_s, check_s = min(times, key=sum)
    print(f"receipt   {format_size(len(data))}; read {read_s * 1e3:.1f} ms, "
          f"checked {check_s * 1e3:.1f} ms (best of 9)")  # fmt: skip


def replayed(feeder: Feeder, program: VerifiedProgram, lie: Trace, state: Any) -> None:
    started = time.perf_counter()
    found = replay(feeder, program, NativeBackend().compile(program), lie, state)
    assert found.difference is not None
    steps = found.difference.steps
    print(f"replay    differs at checkpoint {found.difference.checkpoint} (steps {steps.start} to "
          f"{steps.stop - 1}), after {time.perf_counter() - started:.2f} s")  # fmt: skip


def disputed(
    run: Run, program: VerifiedProgram, feeder: Feeder, sides: Mapping[Side, Any], state: Any
) -> None:
    asked: dict[str, int] = {}

    def count(ask: Any) -> None:
        name = type(ask.request).__name__
        asked[name] = asked.get(name, 0) + 1

    case = Case(run, program, {side: trace.head for side, (trace, _) in sides.items()})
    answering = {
        side: ReplayingSide(program, feeder, executable, trace, {0: state})
        for side, (trace, executable) in sides.items()
    }
    found = settle(case, answering, time.perf_counter, progress=count)
    verdict = found.verdict
    who, codes = " and ".join(sorted(verdict.faulty)), [each.code for each in verdict.lies.values()]
    print(f"dispute   {who} lied: step {verdict.where.step}, {verdict.place} {codes}")
    size = format_size(found.nbytes)
    print(
        f"          {found.messages} messages, {size}, {found.seconds:.2f} s with both sides' work"
    )
    for name, number in asked.items():
        print(f"          {name:<14} {number} questions")


if __name__ == "__main__":
    main()
