import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.bridge.sandbox.namespaces import ids_in_use, is_mapped, unused_id

WHOLE = ["         0          0 4294967295\n"] * 2
FEW = ["0 100000 65536\n"] * 2
PIDS = st.integers(1, 2**22 - 1)


def test_an_id_is_there_only_if_a_range_holds_it() -> None:
    assert is_mapped(0x70000000, "         0          0 4294967295\n")
    container = "0 100000 65536\n"
    assert is_mapped(65535, container)
    assert not is_mapped(65536, container)
    rootless = "0 1000 1\n1 100000 65536\n"
    assert is_mapped(20_000, rootless)
    assert not is_mapped(0x70000000, rootless)
    assert not is_mapped(0, "")


@given(st.sets(PIDS, min_size=2, max_size=20), st.integers(0xF0000000, 0xFFFFFFFF))
def test_jobs_that_run_at_once_have_ids_of_their_own(pids: set[int], namespace: int) -> None:
    ids = {unused_id(pid, namespace, WHOLE) for pid in pids}
    assert len(ids) == len(pids)
    assert all(0x70000000 <= each <= 0x7FFFFFFF for each in ids)
    assert ids.isdisjoint(unused_id(pid, namespace + 1, WHOLE) for pid in pids)


@given(st.lists(PIDS, max_size=60))
def test_with_few_ids_no_job_gets_one_that_another_has(pids: list[int]) -> None:
    taken: set[int] = set()
    for pid in (*pids, 7, 40_007, 80_007):  # these want the same
        found = unused_id(pid, 1, FEW, lambda number: number not in taken)
        assert found not in taken
        assert is_mapped(found, FEW[0])
        taken.add(found)


@pytest.mark.parametrize(
    "maps", [["0 1000 1\n"] * 2, [FEW[0], "0 1000 1\n"], ["0 1000 1\n", FEW[0]]]
)
def test_where_there_is_no_id_to_spare_a_job_is_refused(maps: list[str]) -> None:
    with pytest.raises(OSError, match="a user id of its own, and this user namespace has none"):
        unused_id(7, 1, maps, lambda _: True)
    with pytest.raises(OSError, match="none to spare from 20000 to 59999"):
        unused_id(7, 1, FEW, lambda _: False)


def test_ids_that_processes_have_are_seen() -> None:
    assert os.getuid() in ids_in_use()
