"""Commits wake this process's relay when their rows are due: those of sends, replays, repairs and retries.

None that rolls back does.
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import dramatiq
import pytest
from django.db import transaction
from dramatiq.errors import Retry

from actors.outbox import wakeup
from actors.outbox.background import BackgroundThreads
from actors.outbox.broker import batch_enqueue
from actors.outbox.dead_letters import decisions
from actors.outbox.models import Operator, OutboxMessage, State
from actors.outbox.wakeup import wake_relay_on_commit
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import only_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture
def seen() -> Iterator[list[int]]:
    """How many pending rows there were each time the relay was woken."""
    counts: list[int] = []
    wakeup.register(lambda _at: counts.append(OutboxMessage.objects.filter(state=State.PENDING).count()))
    yield counts
    wakeup.register(None)


def test_a_send_wakes_the_relay_once_its_row_is_committed(actor: Declare, seen: list[int]) -> None:
    one = actor(lambda: None)
    with transaction.atomic():
        one.send()
        assert seen == []
    assert seen == [1]


def test_a_send_that_is_rolled_back_wakes_nothing(actor: Declare, seen: list[int]) -> None:
    one = actor(lambda: None)
    with transaction.atomic():
        one.send()
        transaction.set_rollback(True)
    assert seen == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The process's clock, which a test sets."""
    now = [1_000.0]
    monkeypatch.setattr(wakeup, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def times(clock: list[float]) -> Iterator[list[float]]:
    """For which times the relay was woken."""
    woken_for: list[float] = []
    wakeup.register(woken_for.append)
    yield woken_for
    wakeup.register(None)


def test_a_send_with_a_delay_wakes_the_relay_when_it_is_due(
    actor: Declare, clock: list[float], times: list[float]
) -> None:
    with transaction.atomic():
        actor(lambda: None).send_with_options(delay=250)
        clock[0] += 0.2
        assert times == []
    assert times == [1_000.25]


def test_a_batch_wakes_the_relay_when_its_first_is_due(actor: Declare, times: list[float]) -> None:
    one = actor(lambda: None)
    with transaction.atomic(), batch_enqueue():
        for delay in (500, 250, 86_400_000):
            one.send_with_options(delay=delay)
    assert times == [1_000.25]


@pytest.mark.parametrize(("error", "seconds"), [(ValueError(), 0.0), (Retry(delay=250), 0.25)])
def test_a_retry_wakes_the_relay_when_it_is_due(
    actor: Declare, inline_worker: InlineWorker, times: list[float], error: Exception, seconds: float
) -> None:
    def fail() -> NoReturn:
        raise error

    actor(fail, min_backoff=0).send()
    times.clear()  # of the send
    inline_worker.deliver(only_row())
    assert only_row().state == State.SCHEDULED
    assert times == [1_000.0 + seconds]


def test_a_replay_wakes_the_relay_once_it_is_committed(die: Callable[..., OutboxMessage], seen: list[int]) -> None:
    die()
    seen.clear()  # of the send
    decisions.replay(OutboxMessage.objects.filter(state=State.DEAD), by=Operator(name="alice"), why="mended")
    assert seen == [1]


def test_a_relay_that_cannot_be_woken_makes_no_commit_fail(actor: Declare) -> None:
    def fail(at: float) -> NoReturn:
        raise OSError("the pipe is gone")

    wakeup.register(fail)
    try:
        with transaction.atomic():
            wake_relay_on_commit()
            actor(lambda: None).send()
    finally:
        wakeup.register(None)
    assert OutboxMessage.objects.count() == 1


def test_after_a_fork_the_parents_relay_is_not_woken(seen: list[int]) -> None:
    BackgroundThreads().forget()
    wake_relay_on_commit()
    assert seen == []
