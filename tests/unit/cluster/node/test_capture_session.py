"""A job whose script has ended is cancelled while its operations are still executed."""

import socket
import threading
from pathlib import Path

from bcai.bridge.sandbox.jail import Cause, JailExit, JailLimits, JailOutput
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.capture_session import CaptureSession
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.settings import EnhancedVmSettings

LIMITS = JailLimits(60.0, 1 << 30, 1 << 20, 1 << 30, 1 << 30, 64)
OUTPUTS = tuple(JailOutput(f"output {number}", "value", number) for number in range(5_000))
ENDED = JailExit(Cause.EXITED, "done", JailReport("B"), exit_status=0, outputs=OUTPUTS)


def test_a_cancel_is_heard_however_many_outputs_wait_for_their_worker(tmp_path: Path) -> None:
    plan = ReceiptPlan("job_1", tmp_path / "node.pem", JailReport("B"), None)
    session = CaptureSession(tmp_path / "capture", LIMITS, plan, EnhancedVmSettings())
    channel = socket.socket(fileno=session.begin())  # open: the worker is not done yet
    cancelled = threading.Event()
    cancelled.set()
    try:
        ended = session.finish(ENDED, 60.0, cancelled)
    finally:
        session.end()
        channel.close()
    assert (ended.cause, ended.outputs) == (Cause.CANCELLED, ())
