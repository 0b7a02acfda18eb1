"""Tricks of the language. No wall stops them; what they reach lies behind the walls."""

from bcai.bridge.sandbox.jail import Cause

from .attempt import Attempt, Contained, Control, Kind, Refused, Stopped

_PROGRAM = Refused(("EPERM",))
_RUN = "(['/bin/true'], check=True)"


def _program(name: str, code: str, *, needs: str = "", is_quick: bool = False) -> Attempt:
    """A way around readers of code, to the start of a program."""
    return Attempt(
        Kind.PYTHON, name, code, _PROGRAM, "seccomp", needs=needs, is_quick=is_quick
    )  # fmt: skip


def _harmless(name: str, code: str, wall: str) -> Attempt:
    return Attempt(Kind.PYTHON, name, code, Contained(), wall, Control.ITSELF)


PYTHON = (
    _program(
        "import by a computed name, and start a program",
        "import importlib\nimportlib.import_module('sub' + 'process').run" + _RUN,
    ),
    _program(
        "walk the subclasses of object to Popen, and start a program",
        "import subprocess\n"
        "kinds = ().__class__.__base__.__subclasses__()\n"
        "popen = next(kind for kind in kinds if kind.__name__ == 'Popen')\n"
        "assert popen(['/bin/true']).wait() == 0",
        is_quick=True,
    ),
    _program(
        "chain attributes to the builtins, and start a program",
        "f = json.dumps\n"
        "f.__globals__['__builtins__']['__import__']('subprocess').run" + _RUN,
    ),
    _program(
        "call the kernel through ctypes, and start a program",
        "path = ctypes.create_string_buffer(b'/bin/true')\n"
        "arguments = (ctypes.c_char_p * 2)(b'true', None)\n"
        "in_child(lambda: call(\n"
        "    'execve', ctypes.addressof(path), ctypes.addressof(arguments), 0))",
    ),
    _program(
        "unpickle an object that starts a program",
        "import pickle, subprocess\n"
        "class Evil:\n"
        "    def __reduce__(self): return subprocess.check_call, (['/bin/true'],)\n"
        "pickle.loads(pickle.dumps(Evil()))",
    ),
    _program(
        "load a model that starts a program (torch.load)",
        "import subprocess, torch\n"
        "class Evil:\n"
        "    def __reduce__(self): return subprocess.check_call, (['/bin/true'],)\n"
        "import io\n"
        "file = io.BytesIO()\n"
        "torch.save({'weight': Evil()}, file)\n"
        "torch.load(io.BytesIO(file.getvalue()), weights_only=False)",
        needs="torch",
    ),
    Attempt(
        Kind.PYTHON,
        "compile an extension (cpp_extension)",
        "from torch.utils.cpp_extension import get_cxx_compiler\n"
        "import subprocess\n"
        "subprocess.run([get_cxx_compiler(), '--version'], check=True)",
        _PROGRAM,
        "seccomp",
        Control.ANSWERED,
        needs="torch",
    ),
    _program("put its own module under a name of the library, and start a program",
             "import types, subprocess\n"
             "sys.modules['os.path'] = types.ModuleType('os.path')\n"
             "subprocess.run" + _RUN),
    _harmless(
        "read globals through a format string",
        "assert 'TARGET' in '{0.__globals__}'.format(check)",
        "its process holds nothing but the job",
    ),
    _harmless(
        "read the frames of the program that runs it",
        "frame, seen = sys._getframe(), []\n"
        "while frame: seen.append(frame.f_code.co_filename); frame = frame.f_back\n"
        "assert seen",
        "its process holds nothing but the job",
    ),
    _harmless(
        "replace what the runner needs",
        "import builtins\nfor name in ('isinstance', 'len', 'open'): setattr(builtins, name, None)",
        "the host believes nothing that a job says",
    ),
    Attempt(
        Kind.PYTHON,
        "crash the interpreter",
        "if N: ctypes.string_at(0)",
        Stopped((Cause.SIGNAL,), -11),
        "its own process",
        Control.SMALL,
        (0, 1),
    ),
    Attempt(
        Kind.PYTHON,
        "write over the interpreter's own code",
        "address = ctypes.cast(ctypes.pythonapi.Py_GetVersion, ctypes.c_void_p).value\n"
        "page = address & ~(mmap.PAGESIZE - 1)\n"
        "check(libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 7))\n"
        "ctypes.memmove(address, ctypes.string_at(address, 1), 1)",
        Contained(),
        "the change is the process's own; the file stays as it is",
        Control.ITSELF,
    ),
)  # fmt: skip
