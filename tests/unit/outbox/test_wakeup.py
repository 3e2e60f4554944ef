"""Commits wake this process's relay: those of sends, replays and repairs, and none that rolls back."""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import dramatiq
import pytest
from django.db import transaction

from actors.outbox import wakeup
from actors.outbox.background import BackgroundThreads
from actors.outbox.dead_letters import decisions
from actors.outbox.models import Operator, OutboxMessage, State
from actors.outbox.wakeup import wake_relay_on_commit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture
def seen() -> Iterator[list[int]]:
    """How many pending rows there were each time the relay was woken."""
    counts: list[int] = []
    wakeup.register(lambda: counts.append(OutboxMessage.objects.filter(state=State.PENDING).count()))
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


def test_a_replay_wakes_the_relay_once_it_is_committed(die: Callable[..., OutboxMessage], seen: list[int]) -> None:
    die()
    seen.clear()  # of the send
    decisions.replay(OutboxMessage.objects.filter(state=State.DEAD), by=Operator(name="alice"), why="mended")
    assert seen == [1]


def test_a_relay_that_cannot_be_woken_makes_no_commit_fail(actor: Declare) -> None:
    def fail() -> NoReturn:
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
