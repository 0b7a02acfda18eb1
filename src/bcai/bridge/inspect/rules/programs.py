"""Other programs: a job is one Python process and its forks."""

import ast
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_RAISES = (
    "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call",
    "subprocess.check_output", "subprocess.getoutput", "subprocess.getstatusoutput", "os.popen",
    "os.execv", "os.execve", "os.execvp", "os.execvpe", "os.execl", "os.execle", "os.execlp",
    "os.execlpe", "os.posix_spawn", "os.posix_spawnp",
)  # fmt: skip
_SILENT = (
    "os.system", "os.spawnl", "os.spawnle", "os.spawnlp", "os.spawnlpe", "os.spawnv", "os.spawnve",
    "os.spawnvp", "os.spawnvpe", "pty.spawn", "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
)  # fmt: skip
_EAGER = ("eager", "aot_eager")
_COMPILERS = (
    "torch.utils.cpp_extension.load", "torch.utils.cpp_extension.load_inline",
    "torch.utils.cpp_extension.CppExtension", "torch.utils.cpp_extension.CUDAExtension",
    "torch._inductor.aot_compile", "pyximport.install", "distutils.core.setup",
)  # fmt: skip


@rule(
    "program.start",
    Severity.REFUSED,
    "starts another program",
    "do it with a Python library inside the job, or before the job, and bring the result as data; "
    "or ask for security_level='standard', where programs of the node may start",
    fires=(
        "import subprocess\nsubprocess.run(['ls'])\n",
        "from subprocess import check_output as run\nprint(run('id', shell=True))\n",
        "import os\nos.execv('/bin/sh', ['sh'])\n",
        "import os\ntext = os.popen('ls').read()\n",
    ),
    spares=(
        "import subprocess\nprint(subprocess.PIPE)\n",
        "class subprocess:\n    run = print\nsubprocess.run('ls')\n",
    ),
)
def start_program(scene: Scene) -> Iterator[Sighting]:
    """`execve` is refused, and Python says so with a PermissionError."""
    for call in scene.calls(*_RAISES):
        yield Sighting(call.node, f"{call.name} starts another program", call.certain)


@rule(
    "program.shell",
    Severity.WARNING,
    "starts another program in a child, which dies without an error",
    "nothing of it will run; do it in Python, or ask for security_level='standard', where programs "
    "of the node may start",
    fires=("import os\nos.system('nvidia-smi')\n", "import os as o\nx = o.system\nx('ls')\n"),
    spares=("import platform\nplatform.system()\n",),
)
def start_in_child(scene: Scene) -> Iterator[Sighting]:
    """The parent only sees an exit status."""
    for call in scene.calls(*_SILENT):
        yield Sighting(call.node, f"{call.name} starts another program, which is refused")


@rule(
    "program.compiler",
    Severity.WARNING,
    "needs a compiler",
    "ask for security_level='standard', or leave it out, or use "
    "torch.compile(..., backend='aot_eager')",
    fires=(
        "import torch\nmodel = torch.compile(torch.nn.Linear(1, 1))\n",
        "from torch.utils.cpp_extension import load\nload('x', ['x.cpp'])\n",
        "import torch\n@torch.compile\ndef f(x):\n    return x\n",
    ),
    spares=(
        "import torch\nmodel = torch.compile(torch.nn.Linear(1, 1), backend='eager')\n",
        "import re\nre.compile('a')\n",
    ),
)
def need_compiler(scene: Scene) -> Iterator[Sighting]:
    """`torch.compile` starts one at the first call of what it returns."""
    for call in scene.calls("torch.compile"):
        if scene.text(call.keyword("backend")) not in _EAGER:
            yield Sighting(call.node, "torch.compile needs a C++ compiler")
    for call in scene.calls(*_COMPILERS):
        yield Sighting(call.node, f"{call.name} needs a compiler")
    for node in scene.attributes.get("compile", ()):
        if scene.decorates(node) and "torch.compile" in scene.meaning(node).names:
            yield Sighting(node, "torch.compile needs a C++ compiler")
    if scene.uses("cffi"):
        for node in scene.methods("verify", "compile"):
            if isinstance(node.func, ast.Attribute) and not scene.meaning(node.func).names:
                yield Sighting(node, "cffi builds its module with a compiler")
