"""The native backend: programs as machine code for this processor."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from bcai.base.errors import RefusedError
from bcai.base.units import format_size
from bcai.vm.compiler.backend import PythonRunner
from bcai.vm.program.program import VerifiedProgram

if TYPE_CHECKING:  # llvmlite is loaded when the first program is compiled or this machine examined
    from bcai.vm.backends.native.executable import NativeExecutable
    from bcai.vm.backends.native.prepare import Machine

_UNITS = {"avx512": "AVX-512", "avx2": "AVX2", "sse": "SSE4.2", "neon": "NEON"}
_PROCESSORS = Path("/proc/cpuinfo")


@dataclass(slots=True)
class NativeBackend:
    """Machine code in the order that the instruction set lays down.

    Attributes
    ----------
    threads
        At most so many work at once; None for every processor that this process may use.
    memory_bytes
        A program that needs more is refused before it runs; None for no limit.
    cache
        Folder for compiled objects; None for the user's cache folder.
    clock
        Seconds from any point on.
    """

    threads: int | None = None
    memory_bytes: int | None = None
    cache: Path | None = None
    clock: Callable[[], float] = time.perf_counter
    _machine: "Machine | None" = None

    @property
    def name(self) -> str:
        """What users call it."""
        return "native"

    @property
    def device(self) -> str:
        """Processor, vector unit and threads, in words."""
        machine = self._open()
        threads = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
        return f"{processor_name()}, {_UNITS[machine.target.name]}, {threads}"

    def compile(
        self, program: VerifiedProgram, *, python: PythonRunner | None = None
    ) -> "NativeExecutable":
        """Compile, or take from the cache what was compiled before.

        Raises
        ------
        RefusedError
            The program needs more memory than the limit allows.
        """
        from bcai.vm.backends.native.executable import NativeExecutable

        executable = NativeExecutable(program, self._open(), python)
        most = self.memory_bytes
        if most is not None and executable.bytes_peak > most:
            raise RefusedError(
                f"the program needs {format_size(executable.bytes_peak)} at its peak, "
                f"the limit is {format_size(most)}"
            )
        return executable

    def _open(self) -> "Machine":
        if self._machine is None:
            from bcai.vm.backends.native.executable import open_machine

            folder = self.cache or Path(platformdirs.user_cache_dir("bcai")) / "native"
            self._machine = open_machine(folder, self.threads, self.clock)
        return self._machine


def what_is_missing() -> str:
    """Why this machine cannot run native code; empty if it can."""
    if platform.system() != "Linux":
        return f"native code is written for Linux, this is {platform.system()}"
    if find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    try:
        from bcai.vm.backends.native.objects import this_machine
    except (ImportError, OSError) as error:  # a wheel for another system, say
        return f"llvmlite does not load: {error}"
    if this_machine() is None:
        return f"no code is written for {processor_name()} ({platform.machine()})"
    return ""


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        lines = _PROCESSORS.read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
