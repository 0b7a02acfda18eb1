"""Processes of the job: how they start, how many, and what they may do to others."""

import ast
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Call, Scene

_METHODS = ("spawn", "forkserver")
_PRIVILEGED = (
    "os.setuid", "os.setgid", "os.seteuid", "os.setegid", "os.setreuid", "os.setregid",
    "os.setresuid", "os.setresgid", "os.setgroups", "os.initgroups", "os.chroot", "os.unshare",
    "os.mknod", "os.mkfifo", "os.nice", "os.setpriority", "os.memfd_create",
)  # fmt: skip


@rule(
    "process.spawn",
    Severity.WARNING,
    "starts workers as programs of their own",
    "use the start method 'fork'; torch's DataLoader has it by default",
    fires=(
        "import multiprocessing as mp\nmp.set_start_method('spawn')\n",
        "from torch.multiprocessing import get_context\npool = get_context('forkserver').Pool(2)\n",
        "import torch.multiprocessing as mp\nmp.spawn(print, nprocs=2)\n",
        "from torch.utils.data import DataLoader\n"
        "DataLoader([1], num_workers=1, multiprocessing_context='spawn')\n",
    ),
    spares=(
        "import multiprocessing as mp\nmp.set_start_method('fork')\nwith mp.Pool(2) as p: pass\n",
        "from torch.utils.data import DataLoader\nDataLoader([1], num_workers=2)\n",
    ),
)
def spawn_workers(scene: Scene) -> Iterator[Sighting]:
    """Each such worker begins with an `execve`."""
    for call in scene.calls("multiprocessing.set_start_method", "multiprocessing.get_context"):
        method = scene.text(call.argument(0, "method"))
        if method in _METHODS:
            yield Sighting(call.node, f"the start method {method!r} starts other programs")
    for call in scene.calls("multiprocessing.spawn", "multiprocessing.start_processes"):
        default = "spawn"
        method = call.argument(4, "start_method")
        if (scene.text(method) if method is not None else default) in _METHODS:
            yield Sighting(call.node, "torch.multiprocessing.spawn starts other programs")
    for node in scene.methods("DataLoader"):
        yield from _loader(scene, node)
    for call in scene.calls("torch.utils.data.DataLoader"):
        if not isinstance(call.node.func, ast.Attribute):
            yield from _loader(scene, call.node)


def _loader(scene: Scene, node: ast.Call) -> Iterator[Sighting]:
    for item in node.keywords:
        if item.arg == "multiprocessing_context" and scene.text(item.value) in _METHODS:
            yield Sighting(item.value, "a DataLoader with this context starts other programs")


@rule(
    "process.bomb",
    Severity.REFUSED,
    "forks without end",
    "a job that reaches its limit of processes is ended",
    fires=(
        "import os\nwhile True:\n    os.fork()\n",
        "from os import fork\nwhile 1: fork()\n",
    ),
    spares=(
        "import os\nwhile True:\n    if os.fork() == 0:\n        break\n",
        "import os\npid = os.fork()\n",
    ),
)
def fork_without_end(scene: Scene) -> Iterator[Sighting]:
    """An endless loop whose whole body is a fork."""
    for loop in scene.loops:
        match loop:
            case ast.While(
                test=ast.Constant(value=value), body=[ast.Expr(value=ast.Call(func=function))]
            ) if value:
                meaning = scene.meaning(function)
                if "os.fork" in meaning.names:
                    certain = meaning.exact and id(loop) in scene.certain
                    yield Sighting(loop, "an endless loop of os.fork: a fork bomb", certain)
            case _:
                pass


@rule(
    "process.privilege",
    Severity.REFUSED,
    "asks the kernel for what no job may do",
    "a job runs as one unprivileged user, in namespaces that it cannot leave",
    fires=(
        "import os\nos.setuid(0)\n",
        "import os\nos.chroot('/tmp')\n",
        "import os\nos.mkfifo('pipe')\n",
        "import os\nos.memfd_create('x')\n",
        "import os\nos.nice(5)\n",
    ),
    spares=("import os\nos.getuid()\nos.umask(0o22)\n", "import os\nos.nice(0 + 0)\n"),
)
def ask_for_privilege(scene: Scene) -> Iterator[Sighting]:
    """Calls that seccomp answers with an error."""
    for call in scene.calls(*_PRIVILEGED):
        if call.name != "os.nice" or isinstance(call.argument(0, "increment"), ast.Constant):
            yield Sighting(call.node, f"{call.name} is refused to every job", call.certain)


@rule(
    "process.signal",
    Severity.NOTE,
    "sends signals to other processes",
    "it reaches the job's own processes alone",
    fires=("import os\nos.kill(1, 9)\n", "import os, signal\nos.killpg(0, signal.SIGTERM)\n"),
    spares=(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
        "import signal\nsignal.signal(signal.SIGTERM, print)\n",
    ),
)
def send_signal(scene: Scene) -> Iterator[Sighting]:
    """The jail has its own process ids."""
    for call in scene.calls("os.kill", "os.killpg", "signal.pidfd_send_signal"):
        if not _is_own_process(scene, call):
            yield Sighting(call.node, f"{call.name} reaches the job's own processes only")


def _is_own_process(scene: Scene, call: Call) -> bool:
    target = call.argument(0, "pid")
    return isinstance(target, ast.Call) and "os.getpid" in scene.meaning(target.func).names
