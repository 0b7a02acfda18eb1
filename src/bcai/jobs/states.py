"""A job's states and the moves between them, as one table."""

from enum import StrEnum

from bcai.base.errors import ConflictError


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self in FINAL


class Move(StrEnum):
    """What happens to a job."""

    ASSIGN = "assign"  # the scheduler picked a node
    START = "start"  # the node's jail is up
    SUCCEED = "succeed"
    FAIL = "fail"  # the user's fault, or no retry is left
    RETRY = "retry"  # the node's fault: back to the queue
    CANCEL = "cancel"
    TIME_OUT = "time_out"


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT})

MOVES: dict[tuple[JobState, Move], JobState] = {
    (JobState.QUEUED, Move.ASSIGN): JobState.ASSIGNED,
    (JobState.QUEUED, Move.FAIL): JobState.FAILED,
    (JobState.QUEUED, Move.CANCEL): JobState.CANCELLED,
    (JobState.ASSIGNED, Move.START): JobState.RUNNING,
    (JobState.ASSIGNED, Move.FAIL): JobState.FAILED,
    (JobState.ASSIGNED, Move.RETRY): JobState.QUEUED,
    (JobState.ASSIGNED, Move.CANCEL): JobState.CANCELLED,
    (JobState.ASSIGNED, Move.TIME_OUT): JobState.TIMED_OUT,
    (JobState.RUNNING, Move.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, Move.FAIL): JobState.FAILED,
    (JobState.RUNNING, Move.RETRY): JobState.QUEUED,
    (JobState.RUNNING, Move.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Move.TIME_OUT): JobState.TIMED_OUT,
}


def next_state(state: JobState, move: Move) -> JobState:
    """Return the state after a move.

    Raises
    ------
    ConflictError
        The table has no such move.
    """
    try:
        return MOVES[state, move]
    except KeyError:
        raise ConflictError(f"a job that is {state} cannot {move}") from None
