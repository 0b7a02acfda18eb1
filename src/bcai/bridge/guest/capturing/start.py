"""Begins the capture of a script, before its first line."""

import os
import random
import socket
import sys

from bcai.bridge.guest.capturing.link import SocketLink


def start_capture(channel: socket.socket, seed: int) -> None:
    """Take every tensor operation of this process from now on; `channel` leads to the node."""
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # torch.compile then does nothing: no code is fused
    import torch

    from bcai.bridge.guest.capturing.cells import Cells
    from bcai.bridge.guest.capturing.mode import CaptureMode
    from bcai.bridge.guest.capturing.reading import fetch_before_reading

    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # its recurrent layers are one opaque operation
    torch.backends.cuda.enable_flash_sdp(False)  # and so is fused attention, on processors too
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    cells = Cells(SocketLink(channel))
    fetch_before_reading(cells)
    CaptureMode(cells).__enter__()
    from torch.optim.optimizer import register_optimizer_step_post_hook

    # Equal steps are then equal parts, whose program is sent and compiled once.
    register_optimizer_step_post_hook(lambda *_: cells.hand_over())
