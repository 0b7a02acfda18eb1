"""What is read of a machine's GPUs; the devices are links to another device."""

from pathlib import Path

import pytest

from bcai.base.errors import NoJailError
from bcai.base.units import MIB
from bcai.bridge.sandbox import gpu
from bcai.bridge.sandbox.gpu import GpuDevice, find_gpus, parse_cache, parse_memory, view_of

CACHE = """\
4 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ml.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1
\tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64) => /opt/driver/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64, OS ABI: Linux 3.2.0) => /opt/older/libcuda.so.1
\tlibcudart.so.12 (libc6,x86-64) => /opt/driver/libcudart.so.12
\tlibc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6
"""


def machine(root: Path, *names: str) -> Path:
    (root / "dev").mkdir(parents=True)
    for name in names:
        (root / "dev" / name).symlink_to("/dev/null")
    return root


def describe(root: Path, minor: int, uuid: str) -> None:
    folder = root / f"proc/driver/nvidia/gpus/0000:{minor:02}:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text(
        f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 0\nGPU UUID: \t {uuid}\n"
        f"Bus Location: \t 0000:{minor:02}:00.0\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n"
    )


def test_gpus_are_those_whose_device_is_there(tmp_path: Path) -> None:
    root = machine(tmp_path, "nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm")
    (root / "dev/nvidia3").touch()  # a file is no device
    describe(root, 0, "GPU-aa")
    describe(root, 1, "GPU-bb")  # which this container was not given
    describe(root, 2, "GPU-????????-????")  # which has not been used yet
    first, second, third = find_gpus(root)
    assert first == GpuDevice(0, "NVIDIA H100 80GB HBM3", "GPU-aa", 0, str(root))
    assert (second.minor, second.uuid, third.minor) == (2, "", 10)
    assert find_gpus(tmp_path / "another") == ()


def test_the_driver_is_what_the_linker_finds_first() -> None:
    assert parse_cache(CACHE) == {
        "libnvidia-ml.so.1": "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "libcuda.so.1": "/opt/driver/libcuda.so.1",
    }


def test_memory_is_read_by_name() -> None:
    text = "GPU-aa, 143771\nNo devices were found\nGPU-bb, [N/A]\n"
    assert parse_memory(text) == {"GPU-aa": 143771 * MIB}


def test_only_libraries_outside_of_the_systems_folders_are_shown_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path / "machine", "nvidia1", "nvidiactl", "nvidia-uvm")
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.570.86").touch()
    (driver / "libcuda.so.1").symlink_to("libcuda.so.570.86")

    def cache(command: list[str]) -> str:
        del command
        return CACHE.replace("/opt/driver", str(driver))

    monkeypatch.setattr(gpu, "_answer", cache)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    view = view_of(find_gpus(root))
    real = str(driver / "libcuda.so.570.86")
    assert view.libraries == ((real, f"{driver}/libcuda.so.1"), (real, real))
    assert [target for _, target in view.devices] == [
        "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia1",
    ]  # fmt: skip
    assert view.variables["LD_LIBRARY_PATH"] == str(driver)
    (root / "dev/nvidiactl").unlink()
    with pytest.raises(NoJailError, match=r"no device .*/dev/nvidiactl"):
        view_of(find_gpus(root))
