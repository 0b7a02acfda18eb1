"""GPUs in a jail, with stand-ins: other devices under the names of NVIDIA's. No GPU is needed.

What they show: which devices, libraries and calls a job gets. What they cannot: that CUDA runs.
"""

import os
import shutil
import stat
from ctypes.util import find_library
from pathlib import Path
from typing import cast

import pytest

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox import gpu
from bcai.bridge.sandbox.gpu import GpuDevice, find_gpus
from bcai.bridge.sandbox.probe import probe_alone, probe_jail

from .jails import Jail

_NULL, _ZERO, _FULL = (1, 3), (1, 5), (1, 7)
DEVICES = {
    "nvidiactl": _NULL,
    "nvidia-uvm": _NULL,
    "nvidia-uvm-tools": _NULL,
    "nvidia-modeset": _NULL,
    "nvidia0": _NULL,
    "nvidia1": _ZERO,
    "nvidia2": _FULL,
}
LOOK = """
import ctypes, errno, glob, os, resource

def why(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, "not found")
    return "done"

seen = sorted(glob.glob("/dev/nvidia*"))
opened = {name: why(lambda: os.open(f"/dev/{name}", os.O_RDWR)) for name in
          ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")}
first = why(lambda: open("/dev/nvidia1", "rb").read(1) == b"\\0" or os.abort())
visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
memory_file = why(lambda: os.memfd_create("x"))
named = why(lambda: open(f"/proc/self/task/{os.getpid()}/comm", "w").write("cuda"))
raised = why(lambda: open("/proc/self/coredump_filter", "w").write("0x33"))
made = why(lambda: os.mknod("/job/nvidia0", 0o20666, os.makedev(1, 5)))
endless = resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
library = why(lambda: ctypes.CDLL("libcuda.so.1"))
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with three GPUs, of which the first two have told the driver their names."""
    root = tmp_path / "machine"
    (root / "dev").mkdir(parents=True)
    for name, (major, minor) in DEVICES.items():
        place = root / "dev" / name
        try:
            os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        except PermissionError:
            pytest.skip("devices can only be made by root")
        place.chmod(0o666)
    for minor in (0, 1):
        folder = root / f"proc/driver/nvidia/gpus/0000:0{minor}:00.0"
        folder.mkdir(parents=True)
        uuid = f"GPU-{minor}0000000-aaaa"
        text = f"Model: \t\t NVIDIA H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        (folder / "information").write_text(text)
    libraries = tmp_path / "driver"
    libraries.mkdir()
    some = find_library("m")
    assert some is not None
    for folder in ("/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/lib64"):
        if Path(folder, some).exists():
            shutil.copy(Path(folder, some), libraries / "libcuda.so.570.86")
            break
    (libraries / "libcuda.so.1").symlink_to("libcuda.so.570.86")
    (libraries / "libother.so.1").symlink_to("libcuda.so.570.86")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    tmp_path.chmod(0o755)
    return root


def test_a_job_gets_the_gpu_that_it_was_given_and_no_other(jail: Jail, machine: Path) -> None:
    gpus = find_gpus(machine)
    assert [each.minor for each in gpus] == [0, 1, 2]
    jail.gpus = gpus[1:2]
    run = jail.run(LOOK, gpu_count=1)
    assert run.values["seen"] == ["/dev/nvidia-uvm", "/dev/nvidia1", "/dev/nvidiactl"], run
    assert run.values["opened"] == {
        "nvidia0": "ENOENT",
        "nvidia1": "done",
        "nvidia2": "ENOENT",
        "nvidiactl": "done",
        "nvidia-uvm": "done",
        "nvidia-uvm-tools": "ENOENT",
    }
    assert run.values["first"] == "done"
    assert run.values["visible"] == "GPU-10000000-aaaa"
    assert run.values["made"] == "EPERM"
    for name in ("memory_file", "named", "library"):
        assert run.values[name] == "done", name
    assert run.values["raised"] == "EACCES"
    assert run.values["endless"] is True
    assert run.exit.jail.limits["gpu_count"] == 1
    assert run.exit.jail.start == "cold"  # however many warm Pythons there are


def test_a_job_that_asked_for_none_gets_nothing_of_it(jail: Jail, machine: Path) -> None:
    assert find_gpus(machine)
    run = jail.run(LOOK)
    assert run.values["seen"] == []
    opened = cast("dict[str, str]", run.values["opened"])
    assert set(opened.values()) == {"ENOENT"}
    assert run.values["visible"] == ""
    assert run.values["library"] == "not found"
    assert run.values["memory_file"] == "EPERM"
    assert run.values["named"] == "EACCES"
    assert run.values["endless"] is False


def test_a_gpu_of_no_known_name_is_the_jails_first(jail: Jail, machine: Path) -> None:
    jail.gpus = find_gpus(machine)[2:]
    run = jail.run(LOOK, gpu_count=1)
    assert (run.values["visible"], run.values["opened"]) == (
        "0",
        {
            **dict.fromkeys(("nvidia0", "nvidia1", "nvidia-uvm-tools"), "ENOENT"),
            **dict.fromkeys(("nvidia2", "nvidiactl", "nvidia-uvm"), "done"),
        },
    )


@pytest.mark.parametrize("given", [0, 2])
def test_a_job_gets_as_many_as_it_asked_for_or_is_refused(
    jail: Jail, machine: Path, given: int
) -> None:
    jail.gpus = find_gpus(machine)[:given]
    with pytest.raises(NoJailError, match=f"is to have 1 GPU, and was given {given}"):
        jail.run("", gpu_count=1)


def test_a_driver_that_is_half_there_is_refused(
    jail: Jail, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jail.gpus = find_gpus(machine)[:1]
    monkeypatch.delenv("LD_LIBRARY_PATH")

    def nothing(command: list[str]) -> str:
        del command
        return ""

    monkeypatch.setattr(gpu, "_answer", nothing)
    with pytest.raises(NoJailError, match=r"no libcuda\.so\.1"):
        jail.run("", gpu_count=1)
    (machine / "dev/nvidia-uvm").unlink()
    with pytest.raises(NoJailError, match=r"shows no device .*nvidia-uvm"):
        jail.run("", gpu_count=1)


def test_level_c_gives_none(tmp_path: Path) -> None:
    if probe_jail("C").level != "C":
        pytest.skip("no level C on this machine: " + "; ".join(probe_alone().missing))
    jail = Jail(tmp_path, level_max="C", security_level="standard", gpus=(GpuDevice(0),))
    with pytest.raises(NoJailError, match="level C gives no GPU"):
        jail.run("", gpu_count=1)
