"""Attempts to reach anybody by a network or a socket."""

from .attempt import Attempt, Control, Kind, Refused

_SOCKET = Refused(("EACCES",))  # what the filter answers to every family but Unix
_UNIX = "network namespace; Landlock (scopes)"


def _socket(
    name: str, code: str, control: Control = Control.OUTSIDE, *, is_quick: bool = False
) -> Attempt:
    code = f"import socket\n{code}"
    return Attempt(Kind.NETWORK, name, code, _SOCKET, "seccomp", control, is_quick=is_quick)


NETWORK = (
    _socket(
        "connect by tcp",
        "socket.create_connection(('127.0.0.1', TARGET['tcp']), 5)",
        is_quick=True,
    ),
    _socket(
        "connect by tcp with machine calls of its own",
        "address = (2).to_bytes(2, 'little') + TARGET['tcp'].to_bytes(2, 'big')\n"
        "address = ctypes.create_string_buffer(address + bytes([127, 0, 0, 1]) + bytes(8), 16)\n"
        "call('connect', call('socket', 2, 1, 0), ctypes.addressof(address), 16)",
    ),
    _socket("listen for tcp", "socket.create_server(('127.0.0.1', 0))"),
    _socket("listen for tcp over IPv6", "socket.socket(socket.AF_INET6).listen()"),
    _socket(
        "send by udp",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        ".sendto(b'x', ('127.0.0.1', TARGET['udp']))",
    ),
    _socket(
        "fetch a page by http",
        "import http.client\n"
        "http.client.HTTPConnection('127.0.0.1', TARGET['tcp'], timeout=5).request('GET', '/')",
    ),
    _socket(
        "ask the machine's metadata service of a cloud for its keys",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(('169.254.169.254', 80))",
    ),
    Attempt(
        Kind.NETWORK,
        "connect to a socket file",
        "import socket\nsocket.socket(socket.AF_UNIX).connect(TARGET['socket'])",
        Refused(("ENOENT", "EACCES")),
        "mount namespace; Landlock",
        is_quick=True,
    ),
    Attempt(
        Kind.NETWORK,
        "connect to an abstract Unix socket",
        "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0' + TARGET['abstract'])",
        Refused(("ECONNREFUSED", "EPERM", "EACCES")),
        _UNIX,
        is_quick=True,
    ),
    Attempt(
        Kind.NETWORK,
        "send to an abstract Unix socket without connecting",
        "import socket\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)"
        ".sendto(b'x', '\\0' + TARGET['datagram'])",
        Refused(("ECONNREFUSED", "EPERM", "EACCES")),
        _UNIX,
    ),
    _socket("open a netlink socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    _socket(
        "open a raw socket",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        Control.AS_ROOT,
    ),
    _socket(
        "open a packet socket",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        Control.AS_ROOT,
    ),
    _socket("open a socket to the machine's host (vsock)", "socket.socket(40, socket.SOCK_STREAM)"),
    _socket(
        "use the kernel's ciphers (AF_ALG)",
        "socket.socket(38, socket.SOCK_SEQPACKET)",
        Control.ANSWERED,
    ),
    _socket(
        "open a socket of any other family",
        "for family in (*range(2, 64), 255):\n"
        "    for kind in (1, 2, 3, 5):\n"
        "        try:\n"
        "            call('socket', family, kind, 0)\n"
        "            break\n"
        "        except OSError as error:\n"
        "            if error.errno != errno.EACCES:\n"
        "                break\n"
        "    else:\n"
        "        continue\n"
        "    break\n"
        "else:\n"
        "    raise PermissionError(errno.EACCES, 'all of them')",
    ),
    _socket(
        "open a pair of sockets of another family",
        "pair = ctypes.create_string_buffer(8)\n"
        "call('socketpair', 2, 1, 0, ctypes.addressof(pair))",
        Control.ANSWERED,
    ),
    Attempt(
        Kind.NETWORK,
        "open sockets past the filter, by io_uring",
        "answered('io_uring_setup', 1, 0)",
        Refused(("EPERM",)),
        "seccomp",
        is_quick=True,
    ),
    Attempt(
        Kind.NETWORK,
        "serve a TCPStore of torch.distributed",
        "from torch.distributed import TCPStore\nTCPStore('127.0.0.1', 0, 1, True)",
        Refused(("DistNetworkError", "RuntimeError")),
        "seccomp",
        needs="torch",
    ),
)
