"""Synchronous code drives coroutines, from wherever it is called."""

import asyncio
import subprocess
import sys
import threading

import pytest

from bcai.sdk.portal import portal


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def test_it_returns_what_the_coroutine_returns() -> None:
    assert portal().run(double(21)) == 42


def test_it_raises_what_the_coroutine_raises() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        portal().run(fail())


def test_it_works_while_the_callers_own_loop_runs() -> None:
    async def notebook_cell() -> int:
        return portal().run(double(4))

    assert asyncio.run(notebook_cell()) == 8


def test_many_threads_share_it() -> None:
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.append(portal().run(double(number)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [2 * n for n in range(20)]


def test_a_call_from_inside_is_an_error_and_not_a_deadlock() -> None:
    async def inside() -> int:
        return portal().run(double(1))

    with pytest.raises(RuntimeError, match="inside its own event loop"):
        portal().run(inside())


def test_the_interpreter_ends_while_something_still_runs() -> None:
    script = (
        "import asyncio, threading\n"
        "from bcai.sdk.portal import portal\n"
        "started = threading.Event()\n"
        "async def forever():\n"
        "    started.set()\n"
        "    await asyncio.Event().wait()\n"
        "threading.Thread(target=lambda: portal().run(forever()), daemon=True).start()\n"
        "started.wait()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == 0


def test_the_interpreter_ends_while_a_stream_is_open() -> None:
    script = (
        "from bcai.sdk.job import _iterate\n"
        "async def batches():\n"
        "    yield ['first']\n"
        "    yield ['second']\n"
        "stream = _iterate(batches())\n"
        "assert next(stream) == ['first']\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == 0


def test_a_forked_child_gets_its_own() -> None:
    script = (
        "import asyncio, os\n"
        "from bcai.sdk.portal import portal\n"
        "async def one(): return 1\n"
        "portal().run(one())\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(portal().run(one()) - 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == 0
