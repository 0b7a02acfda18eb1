"""Runs scripts with capture in a process of their own: it changes torch for good.

Called as `python -m tests.conformance.torch.captured_script THREADS SCRIPT [BACKEND]`; prints JSON.
"""

import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from bcai.base.errors import BcaiError
from bcai.bridge.guest.capturing.start import start_capture
from bcai.cluster.node.capture_host import CaptureHost, serve
from bcai.proof.capture import GivenLeaf, head_of_leaves
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler.backend import Backend

MEMORY_BYTES = 1 << 30


def main() -> None:
    """Run the script; its variable `found` comes out with what was recorded."""
    threads, script = int(sys.argv[1]), Path(sys.argv[2])
    once: Backend = ReferenceBackend()
    backend = once if sys.argv[3:] == ["reference"] else NativeBackend(threads)
    ours, theirs = socket.socketpair()
    host = CaptureHost(CaptureRecorder(), backend, once, MEMORY_BYTES)
    said: list[str] = []
    thread = threading.Thread(target=_serve, args=(ours, host, said), daemon=True)
    thread.start()
    start_capture(theirs)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), names)
    theirs.close()
    thread.join()
    leaves = host.recorder.leaves
    document = {
        "found": names["found"],
        "unmapped": [[op, place, n] for (op, place), n in host.recorder.unmapped.items()],
        "origins": [each.origin for each in leaves if isinstance(each, GivenLeaf) and each.origin],
        "leaves": len(leaves),
        "programs": len(host.programs),
        "root": head_of_leaves(leaves).root.hex(),
        "said": said,
    }
    sys.stdout.write(json.dumps(document) + "\n")


def _serve(channel: socket.socket, host: CaptureHost, said: list[str]) -> None:
    try:
        with channel:
            serve(channel, host)
    except BcaiError as error:
        said.append(str(error))


if __name__ == "__main__":
    main()
