"""How long to wait before trying again."""


def backoff_s(failures: int, *, first_s: float, most_s: float, jitter: float) -> float:
    """Double the wait with each failure, up to a cap, and spread it over its upper half.

    Parameters
    ----------
    failures
        How often it has failed in a row, from 1.
    jitter
        A random number from 0 to 1, so that those who failed together do not return together.
    """
    doublings = min(max(failures, 1) - 1, 60)  # beyond that the float overflows, not the cap
    return min(first_s * 2.0**doublings, most_s) * (0.5 + 0.5 * jitter)
