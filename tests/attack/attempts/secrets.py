"""Attempts to find what the node knows and a job must not."""

from .attempt import Attempt, Contained, Control, Kind, Refused

_NOT_THERE = Refused(("AssertionError", "ENOENT", "EACCES"))
_PROCESSES = "pid namespace"


def _search(
    name: str, code: str, wall: str, control: Control = Control.OUTSIDE, *, is_quick: bool = False
) -> Attempt:
    return Attempt(Kind.SECRETS, name, code, _NOT_THERE, wall, control, is_quick=is_quick)


SECRETS = (
    Attempt(
        Kind.SECRETS,
        "read the node's environment as its own",
        "os.environ['BCAI_SECRET']",
        Refused(("KeyError",)),
        "environment of its own",
        is_quick=True,
    ),
    _search(
        "read the environment of its parent",
        "assert open(f'/proc/{os.getppid()}/environ', 'rb').read()",
        _PROCESSES,
    ),
    _search(
        "search the environments of all processes",
        "found = b''\n"
        "for name in os.listdir('/proc'):\n"
        "    if name.isdigit():\n"
        "        try: found += open(f'/proc/{name}/environ', 'rb').read()\n"
        "        except OSError: pass\n"
        "assert b'BCAI_SECRET' in found",
        _PROCESSES,
        is_quick=True,
    ),
    _search(
        "search its memory for the node's environment",
        "import re\n"
        "shape, found = re.compile(b'BCAI_SECRE[T]=opensesam[e]'), False\n"
        "with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:\n"
        "    for line in maps:\n"
        "        first, last = (int(part, 16) for part in line.split()[0].split('-'))\n"
        "        if 'rw' not in line or last - first > 1 << 28: continue\n"
        "        memory.seek(first)\n"
        "        try: found = found or bool(shape.search(memory.read(last - first)))\n"
        "        except OSError: pass\n"
        "assert found",
        "started fresh, or from a Python that was",
        is_quick=True,
    ),
    _search(
        "search all objects of the interpreter for it",
        "import gc\n"
        "near = (part for item in gc.get_objects() for part in gc.get_referents(item))\n"
        "assert any(b'opensesame' in part.values() for part in near if isinstance(part, dict))",
        "started fresh, or from a Python that was",
    ),
    _search(
        "read the memory of its parent",
        "parent = open(f'/proc/{os.getppid()}/maps')\n"
        "assert parent.read() or open(f'/proc/{os.getppid()}/mem', 'rb')",
        "pid namespace; not dumpable",
    ),
    _search(
        "read command lines of the machine's processes",
        "assert open(f'/proc/{TARGET[\"pid\"]}/cmdline').read()",
        _PROCESSES,
    ),
    _search("see the home folders", "assert os.listdir(os.path.expanduser(TARGET['home']))",
            "mount namespace; Landlock"),
    Attempt(
        Kind.SECRETS,
        "learn the machine's name",
        "assert os.uname().nodename == TARGET['host']",
        Refused(("AssertionError",)),
        "uts namespace",
        at={"C": Contained()},
    ),
    _search("learn the machine's network cards", "assert os.listdir('/sys/class/net')",
            "mount namespace; Landlock"),
    _search("read the addresses of the machine", "assert 'lo:' in open('/proc/net/dev').read()\n"
            "assert len(open('/proc/net/dev').readlines()) > 3", "network namespace"),
    Attempt(
        Kind.SECRETS,
        "recognise the machine",
        "assert 'processor' in open('/proc/cpuinfo').read()\nassert os.uname().release",
        Contained(),
        "nothing: the kernel tells everybody",
        Control.ITSELF,
    ),
    Attempt(
        Kind.SECRETS,
        "learn where Python and its project lie on the machine",
        "assert open('/proc/self/mountinfo').read()",
        Contained(),
        "nothing: paths are names, their content stays closed",
        Control.ITSELF,
        at={"C": Refused(("EACCES",))},
    ),
)  # fmt: skip
