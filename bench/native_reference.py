"""The four operations of the architecture document: native against the Python bridge, and memory.

    python bench/native_reference.py [--rounds 20]

`native` is one run of a Program with that one operation. `bridge` is the same operation in PyTorch
through `PythonExecute`: a fresh jail for every call, torch imported in it, tensors in and out (its
mode: cold). `in the jail` is what the operation alone takes there, after a first call. Prints a
table and writes bench/results/native_reference.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bcai.bridge.python_execute import JailPython
from bcai.bridge.sandbox.jail import JailLimits
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

RESULTS = Path(__file__).parent / "results" / "native_reference.json"
LIMITS = JailLimits(120.0, 4 << 30, 1 << 20, 512 << 20, 1 << 30, 64)
HEAD = "import time, torch, torch.nn.functional as F\nx = [torch.from_numpy(i) for i in inputs]\n"
TAIL = """
with torch.inference_mode():
    f()
    times = []
    for _ in range(10):
        t = time.perf_counter()
        r = f()
        times.append(time.perf_counter() - t)
import numpy as np
y = (r[0] if isinstance(r, tuple) else r).contiguous().numpy()
seconds = np.array(sorted(times)[5], np.float64)
"""


def matmul(build: Builder) -> VerifiedProgram:
    """1000 x 1000 times 1000 x 1000."""
    a, b = (build.input(name, "float32[1000,1000]") for name in "ab")
    return build.finish(y=a @ b)


def conv(build: Builder) -> VerifiedProgram:
    """3 x 224 x 224 to 64 channels, 7 x 7, stride 2."""
    x, w = build.input("a", "float32[1,3,224,224]"), build.input("b", "float32[64,3,7,7]")
    at = {"stride": (2, 2), "padding_before": (3, 3), "padding_after": (3, 3), "dilation": (1, 1)}
    return build.finish(y=x.emit("Conv", w, **at, groups=1))


def attention(build: Builder) -> VerifiedProgram:
    """8 heads of 64 over 512 places."""
    q, k, v = (build.input(name, "float32[1,8,512,64]") for name in "abc")
    return build.finish(y=q.emit("Attention", k, v))


def lstm(build: Builder) -> VerifiedProgram:
    """64 steps of 32 sequences, 256 features to 256."""
    x = build.input("a", "float32[64,32,256]")
    h, c = (build.input(name, "float32[1,32,256]") for name in "bc")
    w, u = (build.input(name, "float32[1024,256]") for name in "de")
    y = x.emit("Lstm", h, c, w, u, hidden=256, bias=False)
    return build.finish(y=y)


ROWS: dict[str, tuple[Callable[[Builder], VerifiedProgram], str]] = {
    "matrix product 1000 x 1000": (matmul, "f = lambda: x[0] @ x[1]"),
    "Conv2D 224 x 224 x 3": (conv, "f = lambda: F.conv2d(x[0], x[1], stride=2, padding=3)"),
    "attention, 512 places": (attention, "f = lambda: F.scaled_dot_product_attention(*x)"),
    "LSTM forward": (
        lstm,
        "m = torch.nn.LSTM(256, 256, bias=False)\n"
        "m.weight_ih_l0.data, m.weight_hh_l0.data = x[3], x[4]\n"
        "f = lambda: m(x[0], (x[1], x[2]))",
    ),
}


def median(run: Callable[[], Any], rounds: int) -> float:
    """Median seconds."""
    run()
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(name: str, rounds: int) -> dict[str, Any]:
    """One row."""
    make, code = ROWS[name]
    program = make(Builder())
    random = np.random.default_rng(0)
    values: dict[str, Array] = {
        port.name: (0.1 * random.normal(size=port.type.shape)).astype(np.float32)
        for port in program.program.inputs
    }
    executable = NativeBackend().compile(program)
    native_s = median(lambda: executable.run(values), rounds)
    outputs = {"y": program.output_types["y"], "seconds": TensorType.of(np.zeros(()))}
    asked = PythonCode(HEAD + code + TAIL, outputs, "high", gpu=False)
    python = JailPython(LIMITS)
    answers: list[Any] = []
    bridge_s = median(lambda: answers.append(python(asked, list(values.values()))), 3)
    found, expected = executable.run(values)["y"], answers[-1]["y"]
    scale = float(np.abs(expected).max())
    assert float(np.abs(found - expected).max()) < 1e-4 * scale, name
    inside_s = float(answers[-1]["seconds"])
    return {"row": name, "native_s": native_s, "bridge_s": bridge_s, "inside_s": inside_s}


def bandwidth(rounds: int) -> dict[str, float]:
    """Bytes a second that are read and written by a copy of 256 MiB."""
    build = Builder()
    count = 64 << 20
    x = build.input("x", f"float32[{count}]")
    executable = NativeBackend().compile(build.finish(y=x.emit("Neg")))
    value = np.ones(count, np.float32)
    target = np.empty_like(value)
    moved = 2.0 * value.nbytes
    return {
        "native, one instruction": moved / median(lambda: executable.run({"x": value}), rounds),
        "NumPy copy": moved / median(lambda: np.copyto(target, value), rounds),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    rows = [measure(name, rounds) for name in ROWS]
    print(
        f"{'operation':28} {'native':>10} {'bridge, cold':>14} {'in the jail':>12} {'speed-up':>9}"
    )
    for row in rows:
        native, bridge, inside = (1e3 * row[key] for key in ("native_s", "bridge_s", "inside_s"))
        print(
            f"{row['row']:28} {native:7.2f} ms {bridge:11.0f} ms {inside:9.2f} ms "
            f"{bridge / native:7.0f} x"
        )
    memory = bandwidth(max(3, rounds // 4))
    for name, rate in memory.items():
        print(f"{name:28} {rate / 1e9:7.1f} GB/s")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rows": rows, "bandwidth": memory}, indent=1) + "\n")


if __name__ == "__main__":
    main()
