"""The table of states and moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import ConflictError
from bcai.jobs.states import FINAL, MOVES, JobState, Move, next_state


def reachable_from(start: JobState) -> set[JobState]:
    """Every state that some moves lead to."""
    found, pending = {start}, [start]
    while pending:
        here = pending.pop()
        ahead = {target for (state, _), target in MOVES.items() if state is here} - found
        found |= ahead
        pending += ahead
    return found


def test_every_state_is_reachable_from_the_queue() -> None:
    assert reachable_from(JobState.QUEUED) == set(JobState)


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("move", list(Move))
def test_nothing_leaves_a_final_state(state: JobState, move: Move) -> None:
    with pytest.raises(ConflictError, match=f"a job that is {state} cannot {move}"):
        next_state(state, move)


@pytest.mark.parametrize("state", sorted(set(JobState) - FINAL))
def test_every_open_state_can_end(state: JobState) -> None:
    assert reachable_from(state) & FINAL
    assert not state.is_final


@pytest.mark.parametrize("state", sorted(set(JobState) - FINAL))
def test_every_open_state_can_be_cancelled(state: JobState) -> None:
    assert next_state(state, Move.CANCEL) is JobState.CANCELLED


def test_every_move_is_used() -> None:
    assert {move for _, move in MOVES} == set(Move)


def test_success_needs_a_started_jail() -> None:
    sources = {state for (state, move) in MOVES if move is Move.SUCCEED}
    assert sources == {JobState.RUNNING}


@given(st.lists(st.sampled_from(Move), max_size=30))
def test_no_history_of_moves_leaves_a_final_state(moves: list[Move]) -> None:
    state = JobState.QUEUED
    for move in moves:
        was_final = state.is_final
        try:
            state = next_state(state, move)
        except ConflictError:
            continue
        assert not was_final
