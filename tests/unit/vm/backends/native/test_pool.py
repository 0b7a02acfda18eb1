"""Tapes and the threads that run them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bcai.vm.backends.native import pool as pools
from bcai.vm.backends.native.code import Code, load_kernels
from bcai.vm.backends.native.memory import address_of
from bcai.vm.backends.native.objects import ObjectCache, this_machine
from bcai.vm.backends.native.pool import Pool, shared_pool, threads_available
from bcai.vm.backends.native.tape import ALL_DONE, ARGUMENTS, ENTRY, GRAIN, RECORD_WORDS, UNITS
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import Array

from .small_kernels import Count, Sign

HOST = this_machine()
pytestmark = pytest.mark.skipif(HOST is None, reason="no native code for this processor")
NOBODY = -1
CACHE = ObjectCache(None)


def host() -> Target:
    assert HOST is not None
    return HOST


@pytest.fixture(params=[1, 2, 5])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    made = Pool(host(), CACHE, request.param)
    yield made
    made.close()


class Counters:
    """A tape of `launches` records of `Count`, each on the same numbers."""

    def __init__(self, launches: int, units: int, grain: int = 1, refused: int = NOBODY) -> None:
        self.code: Code = load_kernels([Count()], host(), CACHE)
        self.numbers = np.zeros(units, np.int64)
        self.arguments = np.array([[address_of(self.numbers), refused]] * launches, np.int64)
        self.tape: Array = np.zeros((launches, RECORD_WORDS), np.int64)
        self.tape[:, ENTRY] = self.code.addresses[Count().symbol]
        self.tape[:, ARGUMENTS] = address_of(self.arguments) + 16 * np.arange(launches)
        self.tape[:, UNITS], self.tape[:, GRAIN] = units, grain


@pytest.mark.parametrize(("units", "grain"), [(0, 1), (1, 1), (2, 1), (7, 1), (100, 60), (1000, 3)])
def test_every_unit_is_done_once_a_launch(pool: Pool, units: int, grain: int) -> None:
    counters = Counters(400, units, grain)
    assert pool.run(counters.tape, 0, 400, 0) == ALL_DONE
    assert (counters.numbers == 400).all()
    assert pool.run(counters.tape, 390, 10, 0) == ALL_DONE
    assert (counters.numbers == 410).all()


@pytest.mark.parametrize(
    ("units", "grain", "threads", "part"),
    [
        (32, 11, 2, 16),  # three parts would keep one thread waiting for the other
        (32, 16, 2, 16),
        (32, 17, 2, 32),  # less than two grains: the caller alone
        (100, 12, 2, 13),
        (100, 1, 2, 13),
        (7, 1, 2, 1),
        (7, 2, 4, 2),
        (100, 40, 4, 34),  # fewer parts than threads
        (90, 10, 4, 12),
        (1000, 1, 3, 84),
    ],
)
def test_threads_get_as_many_chunks_each(units: int, grain: int, threads: int, part: int) -> None:
    pool = Pool(host(), CACHE, threads)
    code = load_kernels([Sign(part=True)], host(), CACHE)
    parts: Array = np.zeros(units, np.int64)
    arguments = np.array([address_of(parts)], np.int64)
    tape: Array = np.zeros((1, RECORD_WORDS), np.int64)
    tape[:, ENTRY] = code.addresses[Sign(part=True).symbol]
    tape[:, ARGUMENTS] = address_of(arguments)
    tape[:, UNITS], tape[:, GRAIN] = units, grain
    assert pool.run(tape, 0, 1, 0) == ALL_DONE
    assert parts[0] == part
    assert parts.tolist() == [min(part, units - at // part * part) for at in range(units)]
    pool.close()


def test_the_caller_works_from_the_front_and_the_others_from_the_back(pool: Pool) -> None:
    launches, units = 100, 1 << 15
    code = load_kernels([Sign()], host(), CACHE)
    signed: Array = np.zeros((launches, units), np.int64)
    arguments = np.array([[address_of(row)] for row in signed], np.int64)
    tape: Array = np.zeros((launches, RECORD_WORDS), np.int64)
    tape[:, ENTRY] = code.addresses[Sign().symbol]
    tape[:, ARGUMENTS] = address_of(arguments) + 8 * np.arange(launches)
    tape[:, UNITS], tape[:, GRAIN] = units, 1
    assert pool.run(tape, 0, launches, 64) == ALL_DONE
    by_caller = signed == signed.min()  # the first scratch is the caller's
    assert (by_caller[:, :-1] >= by_caller[:, 1:]).all()


@pytest.mark.parametrize("asked", [False, True])
def test_arrays_are_found_in_memory(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    assert pools._DATA_IS_FIRST  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(pools, "_DATA_IS_FIRST", not asked)
    whole = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    arrays = [whole, whole[1:, ::-1], whole[2, 3], np.zeros(()), np.zeros((0, 3))]
    assert pool.addresses_of(arrays).tolist() == [address_of(each) for each in arrays]
    assert pool.addresses_of([]).tolist() == []


def test_an_empty_tape_is_done(pool: Pool) -> None:
    assert pool.run(Counters(1, 1).tape, 0, 0, 0) == ALL_DONE


@pytest.mark.parametrize("refused", [0, 17, 99])
def test_a_refusal_ends_the_run_after_its_launch(pool: Pool, refused: int) -> None:
    counters = Counters(5, 100)
    counters.arguments[3, 1] = refused
    assert pool.run(counters.tape, 0, 5, 0) == 3
    assert (counters.numbers == 4).all()
    counters.arguments[3, 1] = NOBODY
    assert pool.run(counters.tape, 2, 3, 0) == ALL_DONE
    assert (counters.numbers == 7).all()


def test_threads_that_fell_asleep_wake_up(pool: Pool) -> None:
    counters = Counters(3, 64)
    for round_ in range(1, 4):
        assert pool.run(counters.tape, 0, 3, 0) == ALL_DONE
        assert (counters.numbers == 3 * round_).all()
        threading.Event().wait(0.02)  # longer than they spin


def test_runs_of_several_python_threads_take_turns(pool: Pool) -> None:
    counters = Counters(50, 200)
    runs = [
        threading.Thread(target=lambda: [pool.run(counters.tape, 0, 50, 0) for _ in range(20)])
        for _ in range(4)
    ]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert (counters.numbers == 4 * 20 * 50).all()


def test_scratch_grows_and_a_closed_pool_starts_again(pool: Pool) -> None:
    counters = Counters(10, 100)
    assert pool.run(counters.tape, 0, 10, 1 << 20) == ALL_DONE
    pool.close()
    before = set(threading.enumerate())
    assert pool.run(counters.tape, 0, 10, 0) == ALL_DONE
    assert len(set(threading.enumerate()) - before) == pool.threads - 1
    assert (counters.numbers == 20).all()


def test_a_pool_that_is_closed_while_its_threads_start_stops_them_all() -> None:
    before = set(threading.enumerate())
    pool = Pool(host(), CACHE, 8)
    for _ in range(50):
        counters = Counters(1, 1)
        assert pool.run(counters.tape, 0, 1, 0) == ALL_DONE
        pool.close()
        assert set(threading.enumerate()) == before


def test_a_forked_child_has_threads_of_its_own() -> None:
    counters = Counters(100, 100)
    assert shared_pool(host(), CACHE, 2).run(counters.tape, 0, 100, 0) == ALL_DONE
    child = os.fork()
    if child == 0:
        done = shared_pool(host(), CACHE, 2).run(counters.tape, 0, 100, 0) == ALL_DONE
        os._exit(0 if done and (counters.numbers == 200).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shared_pool(host(), CACHE, 2).run(counters.tape, 0, 100, 0) == ALL_DONE
    assert (counters.numbers == 200).all()


@pytest.mark.parametrize("busy", [False, True])
def test_a_process_ends_while_threads_wait(busy: bool) -> None:
    code = (
        "import threading, numpy as np\n"
        "from bcai.vm.backends.native.objects import ObjectCache, this_machine\n"
        "from bcai.vm.backends.native.pool import shared_pool\n"
        "pool = shared_pool(this_machine(), ObjectCache(None), 3)\n"
        "pool.run(np.zeros((1, 8), np.int64), 0, 0, 0)\n"
        "assert threading.active_count() == 3\n"
    )
    waiting = "" if busy else "threading.Event().wait(0.05)\n"
    done = subprocess.run([sys.executable, "-c", code + waiting], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_threads_are_those_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(pools, "_CPU_MAX", quota)

    def four(process: int) -> set[int]:
        return set(range(4 + process))

    monkeypatch.setattr(os, "sched_getaffinity", four)
    for text, expected in {"max 100000": 4, "200000 100000": 2, "50000 100000": 1}.items():
        quota.write_text(text)
        assert threads_available() == expected
        assert threads_available(3) == min(3, expected)
    assert threads_available(1) == 1
