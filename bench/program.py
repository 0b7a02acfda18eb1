"""Time and memory to verify, encode, decode, hash, print and parse programs of growing length.

A program of n instructions is a deep network's training step in shape: matrix products, biases,
activations, views and sums in the proportions of the ones that PyTorch exports, over a few types.

    python bench/program.py [--lengths 1000 10000 100000] [--rounds 3]

Prints a table and writes bench/results/program.json. Memory is what the result and the work held
beyond the program itself, at their most (tracemalloc).
"""

import argparse
import gc
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import decode_program, encode_program
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Program
from bcai.vm.program.text import parse_program, print_program
from bcai.vm.program.verifier import verify

WIDTHS = (64, 128, 256)
VERIFY_100000_S_MAX = 1.0


def build(length: int) -> Program:
    """A program of exactly `length` instructions."""
    builder = Builder()
    x = builder.input("x", f"float32[32,{WIDTHS[0]}]")
    weights = [builder.parameter(f"w{a}.{b}", f"float32[{a},{b}]") for a in WIDTHS for b in WIDTHS]
    biases = {width: builder.parameter(f"b{width}", f"float32[{width}]") for width in WIDTHS}
    layer = 0
    while len(builder.instructions) < length:
        fitting = [each for each in weights if each.shape[0] == x.shape[1]]
        weight = fitting[layer % len(fitting)]
        most = length - len(builder.instructions)
        x = block(builder, x, weight, biases[weight.shape[1]], most)
        layer += 1
    return builder.build({"y": x})


def block(builder: Builder, x: Symbol, weight: Symbol, bias: Symbol, most: int) -> Symbol:
    """One layer, cut off before it has written more than `most` instructions."""
    end = len(builder.instructions) + most
    size = weight.shape[1]
    steps: list[Callable[[Symbol], Symbol]] = [
        lambda each: each @ weight,
        lambda each: each + bias,
        lambda each: each.emit("Gelu"),
        lambda each: each.reshape(32, size // 32, 32),
        lambda each: each.permute(0, 2, 1),
        lambda each: each.emit("Sigmoid"),
        lambda each: each.permute(0, 2, 1),
        lambda each: each.reshape(32, size),
        lambda each: each.emit("LayerNorm", axis=-1),
    ]
    if most < len(steps):
        steps = [lambda each: each.emit("Relu")] * most
    for step in steps:
        x = step(x)
    assert len(builder.instructions) <= end
    return x


def measure(length: int, rounds: int) -> dict[str, object]:
    """Seconds (best of the rounds) and peak bytes of each act on one program."""
    program = build(length)
    verified = verify(program)
    data, text = encode_program(program), print_program(verified)
    acts: dict[str, Callable[[], object]] = {
        "verify": lambda: verify(program),
        "encode": lambda: encode_program(program),
        "decode": lambda: decode_program(data),
        "root": lambda: program_root(program),
        "print": lambda: print_program(verified),
        "parse": lambda: parse_program(text),
        "build": lambda: build(length),
    }
    return {
        "instructions": len(program.instructions),
        "size_bytes": len(data),
        "seconds": {name: best(act, rounds) for name, act in acts.items()},
        "peak_bytes": {name: peak(act) for name, act in acts.items()},
    }


def best(act: Callable[[], object], rounds: int) -> float:
    """Fastest of some rounds."""
    found: list[float] = []
    for _ in range(rounds):
        gc.collect()
        started = time.perf_counter()
        act()
        found.append(time.perf_counter() - started)
    return min(found)


def peak(act: Callable[[], object]) -> int:
    """Most bytes held at once while it ran."""
    gc.collect()
    tracemalloc.start()
    kept = act()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return most


def show(rows: list[dict[str, object]]) -> None:
    """Print the table."""
    names = list(rows[0]["seconds"])
    print(f"{'instructions':>12} {'bytes':>12}" + "".join(f"{name:>18}" for name in names))
    for row in rows:
        cells = "".join(
            f"{row['seconds'][name] * 1e3:9.1f} ms {row['peak_bytes'][name] / 2**20:4.0f}M"
            for name in names
        )
        print(f"{row['instructions']:>12,} {row['size_bytes']:>12,}{cells}")


def save(rows: list[dict[str, object]]) -> None:
    """Write the figures with the machine that they are from."""
    document = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "python": platform.python_version(),
        },
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / "program.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = [measure(length, arguments.rounds) for length in arguments.lengths]
    show(rows)
    save(rows)
    for row in rows:
        if row["instructions"] == 100_000 and row["seconds"]["verify"] > VERIFY_100000_S_MAX:
            sys.exit(f"verifying 100,000 instructions took over {VERIFY_100000_S_MAX} s")


if __name__ == "__main__":
    main()
