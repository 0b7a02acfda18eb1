"""Machine code: what no reader of Python text can judge."""

import ast
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_LOADERS = (
    "ctypes.CDLL", "ctypes.PyDLL", "ctypes.cdll.LoadLibrary", "ctypes.pydll.LoadLibrary",
    "numpy.ctypeslib.load_library", "torch.ops.load_library", "torch.classes.load_library",
)  # fmt: skip
_KERNEL = (
    "ptrace", "prctl", "syscall", "unshare", "setns", "mount", "umount2", "pivot_root", "clone",
    "process_vm_readv", "process_vm_writev", "keyctl", "bpf", "perf_event_open", "init_module",
    "memfd_create", "execve", "fexecve", "setuid", "chroot", "userfaultfd", "io_uring_setup",
)  # fmt: skip
_MEMORY = (
    "ctypes.string_at", "ctypes.wstring_at", "ctypes.memmove", "ctypes.memset",
    "ctypes.PYFUNCTYPE", "ctypes.CFUNCTYPE",
)  # fmt: skip


@rule(
    "native.library",
    Severity.NOTE,
    "calls a shared library",
    "what machine code does cannot be seen here; the jail holds it like all else",
    fires=(
        "import ctypes\nlibrary = ctypes.CDLL(None)\n",
        "from cffi import FFI\nffi = FFI()\nlib = ffi.dlopen('libm.so.6')\n",
    ),
    spares=("import ctypes\nsize = ctypes.sizeof(ctypes.c_int)\n",),
)
def load_library(scene: Scene) -> Iterator[Sighting]:
    """Of the system, or of a package."""
    for call in scene.calls(*_LOADERS):
        yield Sighting(call.node, f"{call.name} calls machine code")
    if scene.uses("cffi"):
        for node in scene.methods("dlopen"):
            yield Sighting(node, "cffi calls machine code")


@rule(
    "native.own_library",
    Severity.REFUSED,
    "loads a shared library that the job brings or builds",
    "nothing in a job's folders can be executed; use a package that the node has, or ask for "
    "security_level='standard' and load it from the work folder",
    fires=(
        "import ctypes\nctypes.CDLL('./kernel.so')\n",
        "import ctypes\nlibrary = ctypes.CDLL('/job/kernel.so')\n",
    ),
    spares=("import ctypes\nctypes.CDLL('libm.so.6')\n",),
)
def load_own_library(scene: Scene) -> Iterator[Sighting]:
    """The job's folders are mounted without execution."""
    for call in scene.calls(*_LOADERS):
        path = scene.text(call.argument(0, "name"))
        if path and path.startswith(("./", "/job/", "/input/", "/tmp/", "/dev/shm/")):  # noqa: S108
            certain = call.certain and call.name == "ctypes.CDLL" and not path.startswith("/tmp")  # noqa: S108
            yield Sighting(call.node, f"{path} lies where nothing can be executed", certain)


@rule(
    "native.kernel",
    Severity.WARNING,
    "calls the kernel past Python",
    "the jail refuses tracing, mounts, namespaces, keys and starting programs",
    fires=(
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.ptrace(0, 0, 0, 0)\n",
        "from ctypes import cdll\ncdll.LoadLibrary('libc.so.6').syscall(101)\n",
    ),
    spares=("class Tracer:\n    def ptrace(self): ...\nTracer().ptrace()\n",),
)
def call_kernel(scene: Scene) -> Iterator[Sighting]:
    """Functions of the C library that only an attack needs."""
    if scene.uses("ctypes", "cffi"):
        for node in scene.methods(*_KERNEL):
            if isinstance(node.func, ast.Attribute):
                yield Sighting(node, f"{node.func.attr} is a call that the jail guards")


@rule(
    "native.memory",
    Severity.NOTE,
    "reads or writes memory by its address",
    "a mistake ends the job with SIGSEGV",
    fires=("import ctypes\nctypes.memmove(1, 2, 3)\n",),
    spares=("import numpy as np\nnp.zeros(3).tobytes()\n",),
)
def touch_memory(scene: Scene) -> Iterator[Sighting]:
    """Through ctypes."""
    for call in scene.calls(*_MEMORY):
        yield Sighting(call.node, f"{call.name} works on raw memory")
