"""Exponential backoff with jitter: the pause before a failed operation is retried.

Jitter keeps messages and processes that failed together from retrying together ("equal jitter":
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

import random
from collections.abc import Callable

# Further doublings change nothing: every maximum is reached.
MAX_DOUBLINGS = 32


def jittered_backoff(
    retry: int, *, minimum: float, maximum: float, jitter: Callable[[], float] = random.random
) -> float:
    """Return a pause in the unit of `minimum` and `maximum`: it doubles with each retry, less up to half as jitter.

    Args:
        retry: the number of the retry, the first being 0.
        minimum: the longest pause before the first retry.
        maximum: the longest pause before any retry.
        jitter: random numbers from 0 to 1.
    """
    longest = min(maximum, minimum * 2.0 ** min(retry, MAX_DOUBLINGS))
    return longest * (1.0 - jitter() / 2)
