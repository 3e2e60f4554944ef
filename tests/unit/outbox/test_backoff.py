"""Pauses between retries grow, have a longest one, and are those of Dramatiq."""

import random

import pytest
from dramatiq.common import compute_backoff

from actors.outbox.amqp.connection import MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS
from actors.outbox.backoff import jittered_backoff


def test_pauses_between_connections_double_from_a_twentieth_of_a_second_to_half_a_minute() -> None:
    bounds = {"minimum": MIN_BACKOFF_SECONDS, "maximum": MAX_BACKOFF_SECONDS}
    shortest = [jittered_backoff(retry, **bounds, jitter=lambda: 0.0) for retry in range(11)]
    assert shortest[:4] == [0.05, 0.1, 0.2, 0.4]
    assert jittered_backoff(10_000, **bounds, jitter=lambda: 1.0) == 30.0


@pytest.mark.parametrize(
    ("retry", "jitter", "pause"),
    [(0, 0.0, 1_000), (0, 1.0, 2_000), (2, 0.5, 6_000), (6, 0.0, 30_000), (6, 1.0, 60_000)],
)
def test_a_pause_is_lengthened_by_chance_up_to_twice_and_one_that_is_too_long_shortened(
    retry: int, jitter: float, pause: float
) -> None:
    assert jittered_backoff(retry, minimum=1_000, maximum=60_000, jitter=lambda: jitter) == pytest.approx(pause)


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 0), (0, 600_000), (50, 50), (1_000, 600_000), (15_000, 10**9)])
def test_a_retry_s_pause_is_dramatiq_s(minimum: int, maximum: int) -> None:
    for retry in range(40):
        random.seed(retry)
        ours = int(jittered_backoff(retry, minimum=minimum, maximum=maximum))
        random.seed(retry)
        assert ours == compute_backoff(retry, factor=minimum, max_backoff=maximum)[1]
