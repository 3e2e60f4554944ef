"""Exponential backoff with jitter: the pause before a failed operation is retried.

Jitter keeps messages and processes that failed together from retrying together. The pauses are those of Dramatiq's
`compute_backoff`, which knows whole milliseconds alone.
"""

import random
from collections.abc import Callable

# Further doublings change nothing: every maximum is reached.
MAX_DOUBLINGS = 32


def jittered_backoff(
    retry: int, *, minimum: float, maximum: float, jitter: Callable[[], float] = random.random
) -> float:
    """Return a pause in the unit of `minimum` and `maximum`: it doubles with each retry, and is up to twice that long.

    One that would exceed the maximum is half of it to all of it instead.

    Args:
        retry: the number of the retry, the first being 0.
        minimum: the shortest pause before the first retry.
        maximum: the longest pause before any retry.
        jitter: random numbers from 0 to 1.
    """
    pause = minimum * 2.0 ** min(retry, MAX_DOUBLINGS) * (1.0 + jitter())
    return pause if pause <= maximum else maximum * (0.5 + jitter() / 2)
