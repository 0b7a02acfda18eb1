"""Wakes one waiting task, from any thread."""

import asyncio
import threading

import anyio


class Doorbell:
    """Rung any number of times, it wakes the waiter once; no ring is lost."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rung = False
        self._event: anyio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self) -> None:
        """Wake the waiter now, or the next one at once."""
        with self._guard:
            if self._rung:
                return
            self._rung = True
            event, loop = self._event, self._loop
        if event is not None and loop is not None:
            # A thread has no other way onto the loop; anyio's own needs one of anyio's threads.
            loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        """Return once it has rung since the last time."""
        with self._guard:
            if not self._rung:
                self._event = anyio.Event()
                self._loop = asyncio.get_running_loop()
            event = None if self._rung else self._event
        if event is not None:
            await event.wait()
        with self._guard:
            self._rung = False
            self._event = None
