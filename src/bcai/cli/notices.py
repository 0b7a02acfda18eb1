"""What the SDK has to say, such as that a network was started, goes where the command wants it."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

_NETWORK = "bcai.network"
_JOBS = "bcai.jobs"  # warnings about jobs: the views and summaries show them already


class _Handler(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage().removeprefix("bcai: "))


@contextmanager
def notices_to(tell: Callable[[str], None]) -> Generator[None]:
    """Pass on what is said about the network; what is said about jobs is shown elsewhere."""
    network, jobs = logging.getLogger(_NETWORK), logging.getLogger(_JOBS)
    handler, silence = _Handler(tell), logging.NullHandler()
    network.addHandler(handler)
    jobs.addHandler(silence)
    network.propagate = jobs.propagate = False
    try:
        yield
    finally:
        network.removeHandler(handler)
        jobs.removeHandler(silence)
        network.propagate = jobs.propagate = True
