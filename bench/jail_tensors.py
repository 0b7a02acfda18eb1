"""How fast 512 MB get into a job and out of it: sealed memory against pickle and .npy files.

    python bench/jail_tensors.py [--rounds 7] [--megabytes 512]

Each contestant hands an array to a process forked for it, which reads one number of every page and
hands the array back; so does the parent. `in` ends when the child has read its numbers, `out` when
the parent has; `cpu` is the processor time of both processes for both ways, which other programs
of a busy machine disturb least. Rounds are interleaved; medians. `memory` is what jails use:
`sealed_tensors`, then `bcai.input`, then the file of outputs with its copy and check. Prints a
table and writes bench/results/jail_tensors.json.
"""

import argparse
import os
import pickle
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jail_jobs import write

from bcai.bridge.guest.inputs import Inputs
from bcai.bridge.sandbox.inputs import sealed_tensors
from bcai.bridge.sandbox.messages import Announced
from bcai.bridge.sandbox.outputs import new_output_file, read_output
from bcai.bridge.tensor_file import TensorFile
from bcai.bridge.tensor_views import arrays_of

NUMBERS_A_PAGE = 1024
HEADER_BYTES = 8
Times = tuple[float, float]


def in_child(work: Callable[[], None]) -> int:
    """Do it in a forked process."""
    process = os.fork()
    if process == 0:
        work()
        os._exit(0)
    return process


def cpu_s() -> float:
    """Processor time of this process and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def touch(array: Any) -> float:
    """Read a number of every page; return the time."""
    array[::NUMBERS_A_PAGE].sum()
    return time.perf_counter()


def memory(array: Any, folder: Path) -> Times:
    """Sealed memory in, a memory file of fixed size out."""
    del folder
    reader, writer = os.pipe()
    began = time.perf_counter()
    outputs = new_output_file(array.nbytes + 4096)
    with sealed_tensors({"x": array}) as file:

        def work() -> None:
            given = Inputs(file)["x"]
            read_at = touch(given)
            result = TensorFile({"value": given})
            result.write(outputs, HEADER_BYTES)
            os.write(writer, struct.pack("=dq", read_at, result.size))

        process = in_child(work)
        read_at, size = struct.unpack("=dq", os.read(reader, 16))
        os.waitpid(process, 0)
    output = read_output(outputs, Announced("y", "array", HEADER_BYTES, size))
    assert output.content is not None
    ended = touch(arrays_of(output.content)["value"])
    for descriptor in (reader, writer, outputs):
        os.close(descriptor)
    return read_at - began, ended - read_at


def pickled(array: Any, folder: Path) -> Times:
    """Pickle through a pipe, both ways."""
    del folder
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()
    began = time.perf_counter()

    def work() -> None:
        os.close(to_write)
        os.close(back_read)
        with os.fdopen(to_read, "rb") as source, os.fdopen(back_write, "wb") as target:
            given = pickle.load(source)
            pickle.dump((touch(given), given), target, protocol=5)

    process = in_child(work)
    os.close(to_read)
    os.close(back_write)
    with os.fdopen(to_write, "wb") as target, os.fdopen(back_read, "rb") as source:
        pickle.dump(array, target, protocol=5)
        target.flush()
        read_at, found = pickle.load(source)
    ended = touch(found)
    os.waitpid(process, 0)
    return read_at - began, ended - read_at


def npy_files(array: Any, folder: Path) -> Times:
    """`np.save` and `np.load` of files in a temporary folder."""
    reader, writer = os.pipe()
    began = time.perf_counter()
    np.save(folder / "x.npy", array)

    def work() -> None:
        given = np.load(folder / "x.npy")
        read_at = touch(given)
        np.save(folder / "y.npy", given)
        os.write(writer, struct.pack("=d", read_at))

    process = in_child(work)
    (read_at,) = struct.unpack("=d", os.read(reader, 8))
    os.waitpid(process, 0)
    ended = touch(np.load(folder / "y.npy"))
    os.close(reader)
    os.close(writer)
    return read_at - began, ended - read_at


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=512)
    arguments = parser.parse_args()
    array = np.arange(arguments.megabytes << 18, dtype=np.float32)
    contestants = {"memory": memory, "pickle": pickled, "npy": npy_files}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(-1, arguments.rounds):
            for name, contestant in contestants.items():
                used = cpu_s()
                inward, outward = contestant(array, Path(folder))
                if round_ >= 0:
                    found[name].append((inward, outward, cpu_s() - used))
    rows: dict[str, Any] = {
        "megabytes": arguments.megabytes,
        "rounds": arguments.rounds,
        "load_of_the_machine": os.getloadavg()[0],
    }
    for name, all_times in found.items():
        kinds = zip(*all_times, strict=True)
        inward, outward, used = (statistics.median(each) * 1e3 for each in kinds)
        rows[name] = {"in_ms_p50": inward, "out_ms_p50": outward, "cpu_ms_p50": used}
        print(f"{name:<8} in {inward:8.1f} ms   out {outward:8.1f} ms   cpu {used:8.1f} ms")
    write("jail_tensors", rows)


if __name__ == "__main__":
    main()
