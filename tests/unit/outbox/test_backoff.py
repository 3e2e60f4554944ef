"""Pauses between retries grow, have a longest one, and are shortened by chance."""

import pytest

from actors.outbox.amqp.connection import MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS
from actors.outbox.backoff import jittered_backoff


def test_pauses_between_connections_double_from_a_tenth_of_a_second_to_half_a_minute() -> None:
    bounds = {"minimum": MIN_BACKOFF_SECONDS, "maximum": MAX_BACKOFF_SECONDS}
    longest = [jittered_backoff(retry, **bounds, jitter=lambda: 0.0) for retry in range(11)]
    assert longest[:4] == [0.1, 0.2, 0.4, 0.8]
    assert longest[-1] == jittered_backoff(10_000, **bounds, jitter=lambda: 0.0) == 30.0


@pytest.mark.parametrize(("retry", "jitter", "pause"), [(0, 1.0, 500), (0, 0.0, 1_000), (2, 0.5, 3_000)])
def test_pauses_are_shortened_by_chance_by_up_to_a_half(retry: int, jitter: float, pause: float) -> None:
    assert jittered_backoff(retry, minimum=1_000, maximum=60_000, jitter=lambda: jitter) == pytest.approx(pause)


def test_no_pause_exceeds_the_longest() -> None:
    assert all(30_000 <= jittered_backoff(40, minimum=1_000, maximum=60_000) <= 60_000 for _ in range(100))
