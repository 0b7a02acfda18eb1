"""The NVIDIA GPUs of this machine, and what of it a job must see to use those it is given.

Note [GPUs in a jail]
    A job that is given GPUs gets, beside what every job gets:

    - the device of each, `/dev/nvidiaN`, and the two that all share, `/dev/nvidiactl` and
      `/dev/nvidia-uvm`. Another GPU's device is not there to be opened. Devices of displays, of
      profilers (`nvidia-uvm-tools`), of GPUs cut in parts (`nvidia-caps`) and of links between GPUs
      are never shown.
    - the libraries of the driver, where the system's own folders do not hold them already.
    - `ioctl` with the numbers that CUDA uses (`nvidia_ioctl.py`), and `memfd_create`, without which
      CUDA 12 does not start.
    - to write the names of its own threads in `/proc/self/task`, as CUDA does when it starts. That
      folder holds a few other things of the job's own, so it may also lower its own score for the
      kernel that is out of memory, down to an ordinary process's.
    - no limit of addresses: CUDA reserves as many as GPU and machine have memory. Private memory,
      the watchdog and the cgroup bound it as before. A file of `memfd_create` that is not mapped is
      counted by the cgroup alone, so at level A.

    It starts cold, since a warm Python has none of these. While it runs, no other job has its GPUs.
    Level C gives none: CUDA opens sockets, and there only Landlock would stand before the others.
    What the driver does with a call is the driver's: it is a large program in the kernel, and these
    calls reach it.
    Source: the lists of libraries and devices of NVIDIA's container toolkit (libnvidia-container,
    nvc_info.c), and what gVisor's proxy for the same driver lets through (pkg/abi/nvgpu).
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bcai.base.errors import NoJailError
from bcai.base.units import MIB
from bcai.bridge.sandbox.environment import outermost, system_paths

_SHARED = ("nvidiactl", "nvidia-uvm")
_CUDA = "libcuda.so"
_LIBRARIES = (
    _CUDA,
    "libnvidia-ml.so",
    "libnvidia-ptxjitcompiler.so",
    "libnvidia-fatbinaryloader.so",
    "libnvidia-nvvm.so",
    "libnvidia-gpucomp.so",
    "libnvidia-allocator.so",
    "libnvidia-pkcs11.so",
    "libnvidia-pkcs11-openssl3.so",
    "libnvidia-tileiras.so",
)
_FIELD = re.compile(r"^([A-Za-z ]+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_CACHED = re.compile(r"^\s*(\S+) \(([^)]*)\) => (\S+)$", re.MULTILINE)
_WIDE = ("x86-64", "AArch64")  # how the cache of the linker marks libraries of 64 bits
_PROGRAM_S = 10.0  # ldconfig and nvidia-smi answer at once, or something hangs
_DEVICE_PATHS = ("dev", "proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU.

    Attributes
    ----------
    minor
        Its device is `/dev/nvidia<minor>`.
    uuid
        By which CUDA knows it; empty if the driver does not say.
    memory_bytes
        0 if nvidia-smi does not say.
    """

    minor: int
    name: str = "NVIDIA GPU"
    uuid: str = ""
    memory_bytes: int = 0
    root: str = "/"

    @property
    def path(self) -> str:
        """Where it is on this machine."""
        return os.path.join(self.root, f"dev/nvidia{self.minor}")


@dataclass(frozen=True, slots=True)
class GpuView:
    """What a job that is given GPUs sees of this machine for their sake.

    Attributes
    ----------
    devices
        Where each is on this machine, and in the jail.
    libraries
        Files, in the same way, that lie outside of the system's folders.
    variables
        For the environment of its program.
    """

    devices: tuple[tuple[str, str], ...]
    libraries: tuple[tuple[str, str], ...]
    variables: dict[str, str]


NO_GPU = GpuView((), (), {})


def find_gpus(root: Path = Path("/")) -> tuple[GpuDevice, ...]:
    """GPUs whose device this machine shows, in the order of their devices.

    Parameters
    ----------
    root
        Where `/dev` and `/proc` lie; for tests, which have other devices.
    """
    devices, told = (root / path for path in _DEVICE_PATHS)
    names = [path.name for path in devices.glob("nvidia[0-9]*") if _is_device(path)]
    minors = sorted(int(name[6:]) for name in names if name[6:].isdigit())
    # First, since it makes the driver look at GPUs that nobody has used yet.
    memory = _memory_by_uuid() if minors and root == Path("/") else {}
    described = map(_described, sorted(told.glob("*/information")))
    known = {gpu.minor: gpu for gpu in described if gpu is not None}
    found = [known.get(minor, GpuDevice(minor)) for minor in minors]
    return tuple(
        replace(gpu, memory_bytes=memory.get(gpu.uuid, 0), root=str(root)) for gpu in found
    )


def view_of(gpus: Iterable[GpuDevice]) -> GpuView:
    """Gather what a job must see to use these GPUs.

    Raises
    ------
    NoJailError
        A device or the driver's library is not there.
    """
    given = tuple(gpus)
    root = Path(given[0].root)
    shared = [str(root / "dev" / name) for name in _SHARED]
    devices = [*shared, *(gpu.path for gpu in given)]
    missing = [path for path in devices if not _is_device(Path(path))]
    if missing:
        raise NoJailError(
            f"the GPU's driver shows no device {missing[0]}",
            hint="load it: `nvidia-modprobe -c 0 -u`, or start the container with all of "
            "/dev/nvidiactl, /dev/nvidia-uvm and the GPU's own",
        )
    found = _driver_libraries()
    if not any(name.startswith(_CUDA) for name in found):
        raise NoJailError(
            f"the machine has a GPU, but no {_CUDA}.1 that its linker finds",
            hint="install the NVIDIA driver's libraries, then run `ldconfig`",
        )
    libraries, folders = _outside(found)
    # By its name if it has one: then it is this GPU or none, whatever else the driver lists.
    visible = [gpu.uuid or str(place) for place, gpu in enumerate(given)]
    variables = {"CUDA_VISIBLE_DEVICES": ",".join(visible), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if folders:
        variables["LD_LIBRARY_PATH"] = ":".join(folders)
    targets = [f"/dev/{os.path.basename(path)}" for path in devices]
    return GpuView(tuple(zip(devices, targets, strict=True)), libraries, variables)


def parse_cache(text: str) -> dict[str, str]:
    """Libraries of the driver in what `ldconfig -p` prints: where each is, by its name."""
    found: dict[str, str] = {}
    for name, kind, path in _CACHED.findall(text):
        if _is_of_driver(name) and any(word in kind for word in _WIDE):
            found.setdefault(name, path)  # the linker takes the first, too
    return found


def _driver_libraries() -> dict[str, str]:
    """Where the node's own programs would find them: LD_LIBRARY_PATH, then the linker's cache."""
    found: dict[str, str] = {}
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if folder.startswith("/") and os.path.isdir(folder):
            names = filter(_is_of_driver, sorted(os.listdir(folder)))
            found |= {name: f"{folder}/{name}" for name in names if name not in found}
    program = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin:/bin")
    text = "" if program is None else _answer([program, "-p"])
    return parse_cache(text) | found


def _outside(found: dict[str, str]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """Libraries that the system's folders do not hold, and the folders that they are sought in."""
    shown = system_paths()
    pairs: dict[str, str] = {}  # target > source
    folders: dict[str, None] = {}
    for path in found.values():
        if outermost([*shown, path]) == sorted(shown):
            continue
        real = os.path.realpath(path)
        folder = os.path.dirname(path)
        # Under its version as well: the driver's libraries open each other by it.
        pairs |= {path: real, f"{folder}/{os.path.basename(real)}": real}
        folders[folder] = None
    return tuple((source, target) for target, source in pairs.items()), list(folders)


def _is_of_driver(name: str) -> bool:
    return any(name == each or name.startswith(each + ".") for each in _LIBRARIES)


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def _described(path: Path) -> GpuDevice | None:
    """What the driver says of one GPU in /proc."""
    try:
        fields = dict(_FIELD.findall(path.read_text("utf-8", "replace")))
    except OSError:
        return None
    minor, uuid = fields.get("Device Minor", ""), fields.get("GPU UUID", "")
    if not minor.isdigit():
        return None
    is_known = uuid.startswith("GPU-") and "?" not in uuid  # it says ??? until it is first used
    return GpuDevice(int(minor), fields.get("Model", "NVIDIA GPU"), uuid if is_known else "")


def _memory_by_uuid() -> dict[str, int]:
    program = shutil.which("nvidia-smi")
    query = "--query-gpu=uuid,memory.total"
    text = "" if program is None else _answer([program, query, "--format=csv,noheader,nounits"])
    return parse_memory(text)


def parse_memory(text: str) -> dict[str, int]:
    """Read lines such as `GPU-1b7a..., 143771` (MiB); other lines do not count."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        uuid, comma, memory = line.rpartition(",")
        if comma and memory.strip().isdigit():
            found[uuid.strip()] = int(memory) * MIB
    return found


def _answer(command: list[str]) -> str:
    """What a program prints; nothing if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command line
            command, capture_output=True, text=True, timeout=_PROGRAM_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
