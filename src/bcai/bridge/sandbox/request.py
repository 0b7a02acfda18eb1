"""How a job gets to a zygote: one message on a socket, with the descriptors that belong to it."""

import array
import socket

from bcai.bridge.sandbox.plan import PLAN_BYTES_MAX

DESCRIPTORS = ("stdout", "stderr", "status", "inputs", "control", "outputs", "leash")
"""What a request carries, in this order; then come the trees of its folders."""

FOLDERS_MAX = 4


def send(channel: socket.socket, message: bytes, descriptors: list[int]) -> None:
    """Send one message with descriptors."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    channel.sendmsg([message], [rights])


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one message with its descriptors; empty when the other end is gone."""
    room = socket.CMSG_SPACE(4 * (len(DESCRIPTORS) + FOLDERS_MAX))
    message, ancillary, _, _ = channel.recvmsg(PLAN_BYTES_MAX, room, socket.MSG_CMSG_CLOEXEC)
    numbers = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return message, list(numbers)
