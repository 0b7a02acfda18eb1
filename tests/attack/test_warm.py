"""What a warm Python must not change: who sees whom, what is random, what is limited."""

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from bcai.bridge.sandbox.cgroup import group_name
from bcai.bridge.sandbox.environment import JobPython, own_python
from bcai.bridge.sandbox.jail import Cause, JailExit, JailRequest
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool

from .at_rest import held_at_rest
from .jails import LIMITS, Jail

PRELOAD = ("numpy",)  # enough to tell warm from cold, and quick
# An address is the same in all forks of one Python, and in no other.
WHO = "import sys\nwarm = 'numpy' in sys.modules\nmark = id(sys)\n"


@pytest.fixture
def pool() -> Generator[ZygotePool, None, None]:
    report = probe_jail()
    if report.level == "none":
        pytest.skip("no jail on this machine: " + "; ".join(report.missing))
    made = ZygotePool(ZygotePolicy(zygotes_max=2, jobs_max=3, preload=PRELOAD))
    yield made
    made.close()


def _jail(folder: Path, pool: ZygotePool) -> Jail:
    folder.mkdir(exist_ok=True)
    return Jail(folder, zygotes=pool)


def _run(
    folder: Path,
    pool: ZygotePool,
    tenant: str,
    code: str = WHO,
    python: JobPython | None = None,
    security_level: str = "high",
) -> dict[str, object]:
    folder.mkdir(exist_ok=True)
    (folder / "job.py").write_text(code)
    request = JailRequest(
        folder, "job.py", None, (), LIMITS, tenant=tenant, python=python,
        security_level=security_level,
    )  # fmt: skip
    ended = launch(request, lambda event: None, threading.Event(), pool)
    assert ended.cause is Cause.EXITED, ended
    return {each.name: each.value for each in ended.outputs}


def test_the_first_job_of_an_owner_is_cold_and_later_ones_are_warm(
    tmp_path: Path, pool: ZygotePool
) -> None:
    assert _run(tmp_path / "a", pool, "ada")["warm"] is False
    assert pool.is_ready("ada", wait_s=60)
    assert _run(tmp_path / "a", pool, "ada")["warm"] is True


def test_owners_do_not_share_a_python(tmp_path: Path, pool: ZygotePool) -> None:
    for owner in ("ada", "bob"):
        assert pool.is_ready(owner, wait_s=60)
    ada, again, bob = (_run(tmp_path / "a", pool, owner) for owner in ("ada", "ada", "bob"))
    assert ada["warm"] is again["warm"] is bob["warm"] is True
    assert ada["mark"] == again["mark"] != bob["mark"]


def test_environments_do_not_share_a_python(tmp_path: Path, pool: ZygotePool) -> None:
    other = replace(own_python(), name="other")
    for python in (None, other):
        assert pool.is_ready("ada", wait_s=60, python=python)
    own, again = (_run(tmp_path / "a", pool, "ada") for _ in range(2))
    there = _run(tmp_path / "a", pool, "ada", python=other)
    assert own["warm"] is again["warm"] is there["warm"] is True
    assert own["mark"] == again["mark"] != there["mark"]


def test_an_old_python_is_replaced(tmp_path: Path, pool: ZygotePool) -> None:
    short_lived = ZygotePool(ZygotePolicy(age_s_max=0.0, preload=PRELOAD))
    try:
        for each, warm in ((pool, True), (short_lived, False)):
            assert each.is_ready("ada", wait_s=60)
            assert _run(tmp_path / "a", each, "ada")["warm"] is warm
    finally:
        short_lived.close()


def test_jobs_with_programs_and_jobs_without_share_no_python(
    tmp_path: Path, pool: ZygotePool
) -> None:
    code = f"{WHO}import os\nprograms = os.path.exists('/usr/bin/env')\n"
    for programs in (False, True):
        assert pool.is_ready("ada", wait_s=60, programs=programs)
    without = _run(tmp_path / "a", pool, "ada", code)
    with_them = _run(tmp_path / "a", pool, "ada", code, security_level="standard")
    assert without["warm"] is with_them["warm"] is True
    assert (without["programs"], with_them["programs"]) == (False, True)
    assert without["mark"] != with_them["mark"]


def test_a_worn_python_is_replaced(tmp_path: Path, pool: ZygotePool) -> None:
    assert pool.is_ready("ada", wait_s=60)
    marks = [_run(tmp_path / "a", pool, "ada") for _ in range(3)]
    after = _run(tmp_path / "a", pool, "ada")
    assert all(each["warm"] for each in marks)
    assert after["warm"] is False  # its successor is only being started
    assert pool.is_ready("ada", wait_s=60)
    assert _run(tmp_path / "a", pool, "ada")["mark"] != marks[0]["mark"]


def test_only_so_many_pythons_are_kept(tmp_path: Path, pool: ZygotePool) -> None:
    for owner in ("ada", "bob", "cyd"):
        assert pool.is_ready(owner, wait_s=60)
    assert _run(tmp_path / "a", pool, "cyd")["warm"] is True
    assert _run(tmp_path / "a", pool, "ada")["warm"] is False


def test_random_numbers_differ_from_job_to_job(tmp_path: Path, pool: ZygotePool) -> None:
    code = (
        "import os, random, uuid, numpy\n"
        "a = [random.random(), float(numpy.random.rand()), str(uuid.uuid4()), os.urandom(4).hex()]"
    )
    assert pool.is_ready("ada", wait_s=60)
    one, two = (
        cast("list[object]", _run(tmp_path / "a", pool, "ada", code)["a"]) for _ in range(2)
    )
    assert all(x != y for x, y in zip(one, two, strict=True))


def test_a_job_sees_nothing_of_the_one_before(tmp_path: Path, pool: ZygotePool) -> None:
    leave = (
        "import os, sys, builtins\n"
        "open('/job/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')\n"
        "os.environ['LEFT'] = '1'; sys.modules['left'] = sys; builtins.left = 1\n"
    )
    look = (
        "import os, sys, builtins\n"
        "seen = [os.path.exists('/job/left'), os.path.exists('/dev/shm/left'), "
        "'LEFT' in os.environ, 'left' in sys.modules, hasattr(builtins, 'left')]\n"
        "ids = [os.getpid(), len([n for n in os.listdir('/proc') if n.isdigit()])]\n"
    )
    assert pool.is_ready("ada", wait_s=60)
    _run(tmp_path / "a", pool, "ada", leave)
    found = _run(tmp_path / "a", pool, "ada", look)
    assert found["seen"] == [False] * 5
    assert found["ids"] == [2, 2]  # pid 1, and the job


def test_small_limits_hold_although_much_is_inherited(tmp_path: Path, pool: ZygotePool) -> None:
    jail = _jail(tmp_path / "a", pool)
    assert pool.is_ready("", wait_s=60)
    fits = jail.run("x = bytearray(32 << 20); done = 1", memory_bytes=64 << 20)
    assert fits.values["done"] == 1, fits.exit
    too_much = jail.run("x = bytearray(200 << 20)", memory_bytes=64 << 20)
    assert too_much.exit.cause is Cause.MEMORY, too_much.exit


def test_jobs_side_by_side(tmp_path: Path, pool: ZygotePool) -> None:
    assert pool.is_ready("ada", wait_s=60)
    found: list[dict[str, object]] = []

    def one(number: int) -> None:
        code = f"{WHO}import time\ntime.sleep(0.5)\nnumber = {number}"
        found.append(_run(tmp_path / str(number), pool, "ada", code))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each["number"] for each in found} == {0, 1, 2}
    assert all(each["warm"] for each in found)


def test_a_python_that_dies_takes_its_jobs_along_and_is_replaced(
    tmp_path: Path, pool: ZygotePool
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "job.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    request = JailRequest(folder, "job.py", None, (), LIMITS, tenant="ada")
    assert pool.is_ready("ada", wait_s=60)
    ends: list[JailExit] = []
    begun = threading.Event()
    job = threading.Thread(
        target=lambda: ends.append(
            launch(request, lambda event: begun.set(), threading.Event(), pool)
        )
    )
    job.start()
    assert begun.wait(30)
    time.sleep(0.3)
    zygote = next(iter(pool._zygotes.values()))  # pyright: ignore[reportPrivateUsage]
    zygote._process.kill()  # pyright: ignore[reportPrivateUsage]
    job.join(30)
    assert not job.is_alive()
    assert [each.cause for each in ends] == [Cause.JAIL_ERROR]
    assert _run(folder, pool, "ada")["warm"] is False
    assert pool.is_ready("ada", wait_s=60)
    assert _run(folder, pool, "ada")["warm"] is True


def test_closing_the_pool_ends_its_jobs(tmp_path: Path, pool: ZygotePool) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "job.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    limits = replace(LIMITS, wall_s=100.0)
    request = JailRequest(folder, "job.py", None, (), limits, tenant="ada")
    assert pool.is_ready("ada", wait_s=60)
    begun, ended = threading.Event(), threading.Event()

    def run() -> None:
        launch(request, lambda event: begun.set(), threading.Event(), pool)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert begun.wait(30)
    pool.close()
    assert ended.wait(30)
    assert not pool.is_ready("ada", wait_s=1)
    assert _run(folder, pool, "ada", WHO)["warm"] is False


def test_a_python_outlives_the_thread_that_wanted_it(tmp_path: Path, pool: ZygotePool) -> None:
    asking = threading.Thread(target=pool.is_ready, args=("ada", 60))
    asking.start()
    asking.join()
    time.sleep(0.2)
    assert _run(tmp_path / "a", pool, "ada")["warm"] is True


def test_jails_that_died_while_they_stood_by_take_no_job_along(
    tmp_path: Path, pool: ZygotePool
) -> None:
    assert pool.is_ready("ada", wait_s=60)
    _run(tmp_path / "a", pool, "ada")
    held_at_rest()
    (zygote,) = pool._zygotes.values()  # pyright: ignore[reportPrivateUsage]
    waiting = list(zygote._standing_by)  # pyright: ignore[reportPrivateUsage]
    assert waiting
    for each in waiting:
        each._process.kill()  # pyright: ignore[reportPrivateUsage]
        assert each._process.wait(10)  # pyright: ignore[reportPrivateUsage]
    assert _run(tmp_path / "a", pool, "ada")["warm"] is True


def test_nothing_stands_by_when_the_pool_is_closed(tmp_path: Path, pool: ZygotePool) -> None:
    before = _groups(), threading.active_count()
    assert pool.is_ready("ada", wait_s=60)
    _run(tmp_path / "a", pool, "ada")
    held_at_rest()
    if probe_jail().level == "A":
        assert len(_groups()) > len(before[0])
    pool.close()
    assert (_groups(), threading.active_count()) == before


def _groups() -> set[Path]:
    """Control groups of this process's jobs."""
    return set(Path("/sys/fs/cgroup").glob(f"**/{group_name('')}*"))


def test_nothing_is_left_open(tmp_path: Path, pool: ZygotePool) -> None:
    assert pool.is_ready("ada", wait_s=60)
    _run(tmp_path / "a", pool, "ada")
    before = held_at_rest()
    _run(tmp_path / "a", pool, "ada")
    assert held_at_rest() == before


def test_a_folder_that_is_gone_fails_one_job_only(tmp_path: Path, pool: ZygotePool) -> None:
    folder = tmp_path / "a"
    assert pool.is_ready("ada", wait_s=60)
    request = JailRequest(tmp_path / "missing", "job.py", None, (), LIMITS, tenant="ada")
    ended = launch(request, lambda event: None, threading.Event(), pool)
    assert ended.cause is Cause.JAIL_ERROR
    assert _run(folder, pool, "ada")["warm"] is True
