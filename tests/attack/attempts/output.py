"""Attempts to flood, to fool or to harm those who read what a job says."""

from bcai.bridge.sandbox.jail import Cause

from .attempt import Attempt, Contained, Control, Kind, Stopped

_SEND = "def send(data): os.write(3, data)\n"
_FLOOD = Stopped((Cause.LOG_BYTES,))
_LIE = Stopped((Cause.OUTPUT_INVALID,))
_READER = "strict reading on the host"


def _flood(name: str, code: str, sizes: tuple[int, int], *, is_quick: bool = False) -> Attempt:
    limits = {"log_bytes": 1 << 20}
    return Attempt(
        Kind.OUTPUT, name, code, _FLOOD, "supervisor", Control.SMALL, sizes, limits,
        is_quick=is_quick,
    )  # fmt: skip


def _lie(name: str, code: str, *, is_quick: bool = False) -> Attempt:
    return Attempt(
        Kind.OUTPUT, name, _SEND + code, _LIE, _READER, Control.SMALL, (0, 1), is_quick=is_quick
    )


def _nonsense(name: str, code: str) -> Attempt:
    return Attempt(Kind.OUTPUT, name, _SEND + code, Contained(), _READER, Control.ITSELF)


OUTPUT = (
    _flood(
        "print 10 GB",
        "for _ in range(N): os.write(1, b'x' * 999_999 + b'\\n')",
        (1, 10_000),
        is_quick=True,
    ),
    _flood("print 10 GB in one line", "for _ in range(N): os.write(1, b'x' * 10**5)", (1, 10**5)),
    _flood("print 10 GB of binary data to stderr",
           "for _ in range(N): os.write(2, os.urandom(4096))", (1, 2_500_000)),
    _flood(
        "report metrics without end",
        _SEND + "values = {f'm{i}': 1.0 / 3 for i in range(150)}\n"
        "line = json.dumps({'type': 'metric', 'step': 1, 'values': values}).encode()\n"
        "for _ in range(N): send(line)",
        (3, 1 << 30),
    ),
    _flood(
        "warn without end",
        _SEND + "line = json.dumps({'type': 'warning', 'message': 'x' * 4000}).encode()\n"
        "for _ in range(N): send(line)",
        (3, 1 << 30),
    ),
    Attempt(
        Kind.OUTPUT,
        "clear the reader's screen, and other codes of terminals",
        "os.write(1, b'\\x1b[2J\\x1b]0;owned\\x07\\xff\\x9b ok\\n')",
        Contained("\\x1b[2J\\x1b]0;owned\\x07\\xff\\x9b ok"),
        "text is decoded and escaped",
        Control.ITSELF,
        is_quick=True,
    ),
    Attempt(
        Kind.OUTPUT,
        "show the reader a line in another order than it is written",
        "os.write(1, '\\u202egnp.exe\\u2066 ok\\n'.encode())",
        Contained("\\u202egnp.exe\\u2066 ok"),
        "text is decoded and escaped",
        Control.ITSELF,
    ),
    Attempt(
        Kind.OUTPUT,
        "hand over results that are larger than granted",
        "import bcai\nbcai.output('big', b'x' * N)",
        Stopped((Cause.OUTPUT_BYTES,)),
        "memory file of fixed size",
        Control.SMALL,
        (1000, 3_000_000),
        {"output_bytes": 2_000_000},
        is_quick=True,
    ),
    _nonsense(
        "hand over a hundred thousand results",
        "for number in range(100_000):\n"
        "    line = {'type': 'output', 'name': f'n{number}', 'kind': 'value', 'value': [1]}\n"
        "    send(json.dumps(line).encode())",
    ),
    _lie("send garbage to the host", "for _ in range(N * 100_000): send(b'garbage')",
         is_quick=True),
    _lie(
        "announce a result that is not one",
        "import bcai\nbcai.output('a', 1)\n"
        "if N:\n"
        "    os.pwrite(4, b'not a tensor', 8)\n"
        "    send(json.dumps({'type': 'output', 'name': 'b', 'kind': 'array',\n"
        "                             'offset': 8, 'size': 12}).encode())",
        is_quick=True,
    ),
    _lie(
        "announce a result that lies outside of the file",
        "if N:\n"
        "    send(json.dumps({'type': 'output', 'name': 'b', 'kind': 'file',\n"
        "                             'offset': 1 << 40, 'size': 100}).encode())",
    ),
    _lie(
        "announce an array whose shape is a lie",
        "if N:\n"
        "    head = json.dumps({'value': {'dtype': 'F32', 'shape': [1 << 62, 1 << 62],\n"
        "                                 'data_offsets': [0, 4]}}).encode()\n"
        "    data = len(head).to_bytes(8, 'little') + head + bytes(4)\n"
        "    os.pwrite(4, data, 8)\n"
        "    send(json.dumps({'type': 'output', 'name': 'b', 'kind': 'array',\n"
        "                             'offset': 8, 'size': len(data)}).encode())",
    ),
    _lie(
        "announce an array whose header is longer than the file",
        "if N:\n"
        "    os.pwrite(4, b'\\xff' * 16, 8)\n"
        "    send(json.dumps({'type': 'output', 'name': 'b', 'kind': 'state_dict',\n"
        "                             'offset': 8, 'size': 16}).encode())",
    ),
    Attempt(
        Kind.OUTPUT,
        "claim success and fail",
        _SEND + "send(json.dumps({'type': 'end', 'cause': 'exited', 'line': None,\n"
        "                         'message': '', 'hint': ''}).encode())\n"
        "if N: os._exit(7)",
        Stopped((Cause.EXITED,), 7),
        "the kernel's word counts before the job's",
        Control.SMALL,
        (0, 1),
        is_quick=True,
    ),
    _nonsense("name a result after a path",
              "line = {'type': 'output', 'name': '../../x', 'kind': 'value', 'value': [1]}\n"
              "send(json.dumps(line).encode())"),
    _nonsense("nest a message without end", "for _ in range(5): send(b'[' * 50_000)"),
    _nonsense("send numbers of a thousand digits",
              "send(b'{\"type\":\"progress\",\"fraction\":' + b'9' * 50_000 + b'}')"),
    _nonsense("report more than all of the progress",
              "send(b'{\"type\": \"progress\", \"fraction\": 1e9}')"),
    _nonsense("say nothing more", "os.close(3)\nos.close(4)"),
    _nonsense(
        "hand over a pickle for somebody to open",
        "import bcai, pickle\nbcai.output('x.pkl', pickle.dumps(os.system))",
    ),
)  # fmt: skip
