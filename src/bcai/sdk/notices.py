"""Lines that a plain script should show, such as that a network was started on this machine.

They are warnings of two loggers, `bcai.network` and `bcai.jobs`. Where nobody configured logging,
Python writes warnings to stderr as they are; a program that wants them elsewhere sets a handler.
"""

import logging
import threading

_network = logging.getLogger("bcai.network")
_jobs = logging.getLogger("bcai.jobs")
_SEEN_MAX = 1000  # a program that runs for months forgets what it said, rather than grow

_lock = threading.Lock()
_seen: set[str] = set()


def say_of_network(text: str) -> None:
    """Say something about the network in use, once in a process."""
    if _first_time(text):
        _network.warning("bcai: %s", text)


def say_of_job(text: str) -> None:
    """Pass on a network's warning about a job, once in a process."""
    if _first_time(text):
        _jobs.warning("bcai: %s", text)


def _first_time(text: str) -> bool:
    with _lock:
        if text in _seen:
            return False
        if len(_seen) >= _SEEN_MAX:
            _seen.clear()
        _seen.add(text)
        return True
