"""All figures of docs/performance.md that are about the native backend, one bench after the other.

    python bench/native.py [--threads 1 2]

About an hour on two quiet processors. With the dependency group `bench` installed, torch.compile,
JAX and ONNX Runtime are measured too. Each bench prints its table and writes a file of
bench/results.
"""

import argparse
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent
OTHERS = {"--jax": "optax", "--onnx": "onnxruntime"}
"""Options of native_steps.py, and the package that each needs."""


def main() -> None:
    """Run every bench; exit with the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    threads = ["--threads", *parser.parse_args().threads]
    others = [option for option, package in OTHERS.items() if find_spec(package)]
    benches = (
        ["native_loops.py", *threads],
        ["native_contraction.py", *threads],
        ["native_conv.py", *threads],
        ["native_instructions.py", *threads],
        ["native_reference.py"],
        ["native_memory.py"],
        ["native_steps.py", *threads, "--compile", *others],
    )
    failed = 0
    for name, *arguments in benches:
        print(f"== {name} {' '.join(arguments)}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, FOLDER / name, *arguments], check=False)
        failed += done.returncode != 0
        print(f"== {time.monotonic() - began:.0f} s, exit status {done.returncode}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
