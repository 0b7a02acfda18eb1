"""Begins the capture of a script, before its first line."""

import json
import os
import random
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from bcai.base.errors import JobFailedError
from bcai.bridge.limits import MESSAGE_BYTES_MAX

SEED = 0
"""Of every generator, until the script sets its own."""


def open_channel(control: int) -> socket.socket:
    """Ask the node for this end of the channel. Raises JobFailedError."""
    with socket.socket(fileno=os.dup(control)) as asking:
        asking.sendall(b'{"type": "capture"}')
        text, files, _, _ = socket.recv_fds(asking, MESSAGE_BYTES_MAX, 1)
    answer: dict[str, str] = json.loads(text or b"{}")
    if not files:
        message = answer.get("message", "the node is gone")
        raise JobFailedError(f"capture: {message}", hint=answer.get("hint", ""))
    return socket.socket(fileno=files[0])


def start_capture(channel: socket.socket, seed: int = SEED) -> None:
    """Take every tensor operation of this process from now on; `channel` leads to the node."""
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # torch.compile then does nothing: no code is fused
    import torch as installed
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from bcai.bridge.guest.capturing.cells import Cells
    from bcai.bridge.guest.capturing.exchange import Exchange
    from bcai.bridge.guest.capturing.link import SocketLink
    from bcai.bridge.guest.capturing.mode import CaptureMode
    from bcai.bridge.guest.capturing.reading import fetch_before_reading

    torch: Any = installed
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # its recurrent layers are one opaque operation
    torch.backends.cuda.enable_flash_sdp(False)  # and so is fused attention, on processors too
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    cells = Cells(Exchange(SocketLink(channel)))
    fetch_before_reading(cells)
    CaptureMode(cells).__enter__()
    _capture_threads(lambda: CaptureMode(cells))
    os.register_at_fork(before=cells.read_all)

    def hand_over(*_: object) -> None:
        cells.hand_over()

    # Equal steps are then equal parts, whose program is sent and compiled once.
    register_optimizer_step_post_hook(hand_over)


def _capture_threads(mode: Callable[[], AbstractContextManager[Any]]) -> None:
    """Threads that captured ones start have the mode as well: torch keeps it for each thread."""
    from bcai.bridge.guest.capturing.inside_torch import has_mode

    start = threading.Thread.start

    def started(self: threading.Thread) -> None:
        if not has_mode():
            return start(self)
        run = self.run

        def captured() -> None:
            with mode():
                run()

        self.run = captured
        return start(self)

    threading.Thread.start = started
