"""Saves a result, or finishes a save, in processes that are killed.

    python killed_save.py ACT FOLDER ...

The first folder's process is killed before its first act on files, the second's before its second,
and so on. It prints how many were killed; the others came to their end.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bcai.sdk.whole_files import finish_left, swapped_in, write_synced


def save(folder: Path, files: dict[str, bytes], job_id: str = "job_2") -> None:
    """Save files as a result."""
    record = {"job_id": job_id, "status": "SUCCEEDED", "files": {name: name for name in files}}
    with swapped_in(folder) as beside:
        for name, content in files.items():
            write_synced(beside / name, content)
        write_synced(beside / "result.json", json.dumps(record).encode())


NEW = {"b.npy": b"new", "both.npy": b"new", "logs.txt": b"new"}
ACTS: dict[str, Callable[[Path], None]] = {
    "save": lambda folder: save(folder, NEW),
    "finish": finish_left,
}


def is_killed(act: Callable[[Path], None], folder: Path, number: int) -> bool:
    """Act in a child that is killed before its `number`-th act on files; whether that came."""
    child = os.fork()
    if child == 0:
        numbers = itertools.count(1)

        def heed(event: str, _: object) -> None:
            if event.startswith(("os.", "open", "fcntl.")) and next(numbers) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(heed)
        act(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


if __name__ == "__main__":
    chosen, *folders = sys.argv[1:]
    killed = [
        is_killed(ACTS[chosen], Path(folder), number) for number, folder in enumerate(folders, 1)
    ]
    print(sum(killed))  # noqa: T201 - stdout is the answer
