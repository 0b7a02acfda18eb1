"""A background thread with an event loop, through which synchronous code runs coroutines.

One per process: it works in Jupyter, whose own loop is running already, and from any thread.
The thread is a daemon that is stopped at exit, so that an open client never holds up the
interpreter.
"""

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

Value = TypeVar("Value")

_STOP_S_MAX = 2.0  # a loop that is stuck in foreign code must not hold up the interpreter's exit


class Closable(Protocol):
    """Something that is closed in the loop that used it."""

    async def aclose(self) -> None:
        """Close it."""
        ...


class Portal:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._resources: weakref.WeakSet[Closable] = weakref.WeakSet()
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="bcai-portal", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine to its end and return what it returns.

        An interrupt (Ctrl-C) cancels the coroutine before it is raised here.
        """
        if self._stopped or threading.current_thread() is self._thread:
            coroutine.close()
            where = "while Python exits" if self._stopped else "from inside its own event loop"
            raise RuntimeError(f"the synchronous SDK was called {where}")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close_at_exit(self, resource: Closable) -> None:
        """Close what runs in this loop before the loop stops, if it is still there then."""
        self._resources.add(resource)

    def stop(self) -> None:
        """Close what is open, then stop the loop and its thread."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_S_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S_MAX)
        self._stopped = True

    async def _close(self) -> None:
        open_ones = [resource.aclose() for resource in tuple(self._resources)]
        await asyncio.gather(*open_ones, return_exceptions=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


_lock = threading.Lock()
_portals: dict[int, Portal] = {}  # by process id: a forked child has no thread and makes its own


def portal() -> Portal:
    """Return this process's portal."""
    with _lock:
        process = os.getpid()
        if process not in _portals:
            _portals.clear()
            _portals[process] = Portal()
            atexit.register(_portals[process].stop)
        return _portals[process]


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    for inherited in _portals.values():
        atexit.unregister(inherited.stop)
    _portals.clear()


os.register_at_fork(after_in_child=_after_fork)
