"""What a host and a zygote say to each other: messages with the descriptors that they need."""

import array
import socket

from bcai.bridge.sandbox.plan import PLAN_BYTES_MAX

PREPARE = b"prepare"
"""Asks for a jail that stands by (Note [Standing by] in `builder.py`)."""

PREPARED = ("leash", "stdout", "stderr", "status", "control")
"""What comes with `PREPARE`, in this order; then the doors of a control group, if there is one."""

REQUESTED = ("outputs", "inputs")
"""What comes with a job, in this order. The host adds the leash; the keeper sends the job on it,
and the trees of the job's folders in its place."""

FOLDERS_MAX = 4
_GROUPS_MAX = 2  # control groups that one jail is in
_DESCRIPTORS_MAX = max(len(PREPARED) + _GROUPS_MAX, len(REQUESTED) + FOLDERS_MAX)


def send(channel: socket.socket, message: bytes, descriptors: list[int]) -> None:
    """Send one message with descriptors."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    channel.sendmsg([message], [rights])


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one message with its descriptors; empty when the other end is gone."""
    room = socket.CMSG_SPACE(4 * _DESCRIPTORS_MAX)
    message, ancillary, _, _ = channel.recvmsg(PLAN_BYTES_MAX, room, socket.MSG_CMSG_CLOEXEC)
    numbers = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return message, list(numbers)
