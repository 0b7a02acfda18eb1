"""What a dispute costs as the run gets longer: messages, bytes and seconds against instructions.

    python -m bench.proof_dispute_growth [--most 7]

Trains the digits for 10^3 to 10^7 instructions. One side flips a bit of one gradient two thirds
into the run and is honest before and after. Both sides keep the state before that checkpoint, as
nodes keep some, so that what is timed is the dispute with both sides' work in it, not the training.
Prints a table, writes bench/results/proof_dispute.json and draws docs/images/dispute_cost.png.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench.proof_dispute import first_state, last_product, program, training
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tests.unit.proof.liars import WrongExecutable

from bcai.proof.bisection import Case
from bcai.proof.execute import execute
from bcai.proof.messages import Side
from bcai.proof.recorder import Recorder, fixed_parameters
from bcai.proof.settle import settle
from bcai.proof.side import ReplayingSide
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.isa.types import Array

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "proof_dispute.json"
PICTURE = ROOT / "docs" / "images" / "dispute_cost.png"
LIE_AT = 0.685
FEWEST = 3


@dataclass(frozen=True)
class Cost:
    """One dispute."""

    instructions: int
    steps: int
    checkpoints: int
    train_s: float
    messages: int
    nbytes: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=7, help="10 to the power of it")
    given = parser.parse_args()
    costs: list[Cost] = []
    dispute(10**FEWEST)  # its instructions are compiled one by one, once
    print(f"{'instructions':>14}{'steps':>10}{'training s':>12}{'messages':>10}{'bytes':>10}"
          f"{'ms':>10}")  # fmt: skip
    for power in range(FEWEST, given.most + 1):
        found = dispute(10**power)
        costs.append(found)
        print(f"{found.instructions:>14,}{found.steps:>10,}{found.train_s:>12.2f}"
              f"{found.messages:>10}{found.nbytes:>10,}{found.seconds * 1e3:>10.0f}")  # fmt: skip
    machine = {"processor": platform.processor(), "python": platform.python_version()}
    rows = [asdict(each) for each in costs]
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    draw(costs)


def dispute(instructions: int) -> Cost:
    """Train on both sides, then find who lied."""
    step = program()
    state: dict[str, Any] = first_state(step)
    size = len(step.program.instructions)
    feeder = training(step, state, -(-instructions // size))
    run, fixed = feeder.run, fixed_parameters(step)
    wrong = int(run.steps * LIE_AT)
    checkpoint = wrong // run.checkpoint_every
    kept = run.span(checkpoint).start
    native = NativeBackend().compile(step)
    recorder = Recorder(run, fixed=fixed)
    states = {0: state}
    started = time.perf_counter()
    for each in execute(feeder, step, native, state):
        recorder.record(*each)
        if each.done == kept:
            states[kept] = each.state
    train_s = time.perf_counter() - started
    honest = recorder.finish()
    lying = WrongExecutable(step, wrong, last_product(step), flip_bit_of_largest, native)
    recorder = Recorder(run, fixed=fixed, prefix=honest.checkpoints[:checkpoint])
    for each in execute(feeder, step, lying, states[kept], start=kept):
        recorder.record(*each)
    lie = recorder.finish()
    answering = {
        Side.A: ReplayingSide(step, feeder, native, honest, states),
        Side.B: ReplayingSide(step, feeder, lying, lie, states),
    }
    case = Case(run, step, {Side.A: honest.head, Side.B: lie.head})
    found = settle(case, answering, time.perf_counter)
    assert found.verdict.faulty == {Side.B}
    assert found.verdict.where.step == wrong
    return Cost(
        run.steps * size, run.steps, run.checkpoints, round(train_s, 3), found.messages,
        found.nbytes, round(found.seconds, 4),
    )  # fmt: skip


def flip_bit_of_largest(array: Array) -> Array:
    """A bit that no later rounding hides."""
    changed = np.array(array)
    flat = changed.reshape(-1)
    flat[abs(flat).argmax() :][:1].view(np.uint32)[0] ^= 1 << 20
    return changed


def draw(costs: list[Cost]) -> None:
    """Two curves over a logarithmic axis: there, what is logarithmic is a straight line."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    at = [each.instructions for each in costs]
    for place, (title, values) in enumerate(
        (
            ("messages", [each.messages for each in costs]),
            ("KiB, both sides", [each.nbytes / 1024 for each in costs]),
            ("seconds; grey: the training", [each.seconds for each in costs]),
        ),
        1,
    ):
        axes: Any = figure.add_subplot(1, 3, place)
        axes.set_xscale("log")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("instructions in the run", fontsize=9)
        axes.plot(at, values, color=f"C{place - 1}", marker="o", markersize=4)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if place == 3:
            axes.plot(at, [each.train_s for each in costs], color="0.6", marker="o", markersize=4)
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, max(values) * 1.15)
    figure.savefig(PICTURE, dpi=144)


if __name__ == "__main__":
    main()
