"""Repair publishes messages again that RabbitMQ has lost, and leaves those alone that are in RabbitMQ or a worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq
import pytest
from django.db import connection
from django.db.models.functions import Now

from actors.outbox import wakeup
from actors.outbox.maintenance import lost_messages
from actors.outbox.maintenance.leadership import acquire_leadership, queues_published_to, queues_to_watch, resign
from actors.outbox.models import OutboxMessage, State, WatchedQueue
from tests.unit.outbox.index_reads import entries_read

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

QUEUE = "tests"
MARGIN_SECONDS = 100.0
TOKEN = uuid4()


@dataclass
class Watcher:
    """Looks at a queue whose count the test decides; time passes when the test says so."""

    ready: int = 0
    looked: list[str] = field(default_factory=list)

    def look(self, queue: str) -> int:
        assert not connection.in_atomic_block, "a transaction is open while RabbitMQ is asked"
        self.looked.append(queue)
        return self.ready

    def step(self, *, at_most: int = 1_000, token: UUID = TOKEN) -> int:
        return lost_messages.step(QUEUE, token=token, look=self.look, margin_seconds=MARGIN_SECONDS, at_most=at_most)

    def pass_time(self, seconds: float) -> None:
        """Make everything that has happened so far longer ago."""
        by = timedelta(seconds=seconds)
        for row in OutboxMessage.objects.exclude(published_at=None):
            OutboxMessage.objects.filter(pk=row.pk).update(published_at=(row.published_at or row.created_at) - by)
        for watched in WatchedQueue.objects.exclude(seen_empty_at=None):
            assert watched.seen_empty_at is not None
            WatchedQueue.objects.update(seen_empty_at=watched.seen_empty_at - by)


@pytest.fixture
def watcher() -> Watcher:
    WatchedQueue.objects.create(name=QUEUE)
    assert acquire_leadership(QUEUE, token=TOKEN, seconds=3_600)
    return Watcher()


@pytest.fixture
def publish(actor: Callable[..., dramatiq.Actor[Any, Any]]) -> Callable[..., OutboxMessage]:
    """Have a message that RabbitMQ has confirmed."""
    declared = actor(lambda: None)

    def publish(**changes: Any) -> OutboxMessage:
        declared.send()
        row = OutboxMessage.objects.latest("pk")
        longer_ago = Now() - timedelta(seconds=1)
        published = {"state": State.PUBLISHED, "published_at": longer_ago, **changes}
        OutboxMessage.objects.filter(pk=row.pk).update(**published)
        return row

    return publish


Publish = Callable[..., OutboxMessage]


def states() -> list[str]:
    return list(OutboxMessage.objects.order_by("pk").values_list("state", flat=True))


def seen_empty() -> bool:
    return WatchedQueue.objects.get().seen_empty_at is not None


def test_what_is_owed_a_margin_after_its_queue_was_seen_empty_is_published_again(
    watcher: Watcher, publish: Publish
) -> None:
    row = publish()
    assert watcher.step() == 0
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 1
    row.refresh_from_db()
    assert (row.state, row.attempt, row.published_at) == (State.PENDING, 0, None)
    assert OutboxMessage.objects.filter(due_at__lte=Now()).exists()


def test_before_the_margin_is_over_nothing_is_lost(watcher: Watcher, publish: Publish) -> None:
    publish()
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS - 10)
    assert watcher.step() == 0
    assert states() == [State.PUBLISHED]


def test_a_queue_that_is_not_empty_is_not_known_to_have_lost_anything(watcher: Watcher, publish: Publish) -> None:
    publish()
    watcher.ready = 1
    watcher.step()
    assert not seen_empty()
    watcher.pass_time(10 * MARGIN_SECONDS)
    assert watcher.step() == 0
    assert states() == [State.PUBLISHED]


def test_a_queue_that_got_its_messages_back_after_it_was_seen_empty_does_not_grow(
    watcher: Watcher, publish: Publish
) -> None:
    publish()
    watcher.step()
    watcher.ready = 1
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 0
    assert states() == [State.PUBLISHED]


def test_what_was_published_after_the_queue_was_seen_empty_waits_for_the_next_sighting(
    watcher: Watcher, publish: Publish
) -> None:
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    publish()
    assert watcher.step() == 0
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 1


def test_a_message_published_during_a_sighting_does_not_count_as_seen(watcher: Watcher, publish: Publish) -> None:
    def publish_meanwhile(queue: str) -> int:
        publish(published_at=Now())
        return 0

    lost_messages.step(QUEUE, token=TOKEN, look=publish_meanwhile, margin_seconds=MARGIN_SECONDS)
    seen, published = WatchedQueue.objects.get().seen_empty_at, OutboxMessage.objects.get().published_at
    assert seen is not None
    assert published is not None
    assert seen <= published


def test_a_row_under_an_execution_lease_is_left_alone_until_the_lease_ends(watcher: Watcher, publish: Publish) -> None:
    publish(held_until=Now() + timedelta(seconds=30))
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 0
    assert states() == [State.PUBLISHED]
    OutboxMessage.objects.update(held_until=Now() - timedelta(seconds=1))
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 1


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED, State.DEAD])
def test_only_what_is_published_can_be_lost(watcher: Watcher, publish: Publish, state: State) -> None:
    publish(state=state)
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 0
    assert states() == [state]


def test_another_queues_messages_are_left_alone(watcher: Watcher, publish: Publish) -> None:
    publish(queue="another")
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step() == 0


def test_much_is_published_again_a_piece_at_a_time(watcher: Watcher, publish: Publish) -> None:
    for _ in range(5):
        publish()
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert [watcher.step(at_most=2) for _ in range(4)] == [2, 2, 1, 0]
    assert states() == [State.PENDING] * 5


def test_a_process_without_a_lease_changes_nothing(watcher: Watcher, publish: Publish) -> None:
    publish()
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    assert watcher.step(token=uuid4()) == 0
    assert states() == [State.PUBLISHED]


def test_a_lease_that_was_lost_while_looking_leaves_no_sighting(watcher: Watcher) -> None:
    def lose(queue: str) -> int:
        resign(TOKEN)
        return 0

    lost_messages.step(QUEUE, token=TOKEN, look=lose, margin_seconds=MARGIN_SECONDS)
    assert not seen_empty()


def test_the_relay_is_woken_once_the_repair_is_committed(
    watcher: Watcher, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[list[str]] = []
    publish()
    watcher.step()
    watcher.pass_time(MARGIN_SECONDS + 1)
    monkeypatch.setattr(wakeup, "_wake", lambda _at: woken.append(states()))
    watcher.step()
    assert woken == [[State.PENDING]]


def test_on_demand_nothing_waits_for_a_margin(watcher: Watcher, publish: Publish) -> None:
    publish()
    publish(held_until=Now() + timedelta(seconds=30))
    assert lost_messages.repair_now(QUEUE, look=watcher.look) == 1
    assert states() == [State.PENDING, State.PUBLISHED]


def test_on_demand_a_queue_that_is_not_empty_is_left_alone(watcher: Watcher, publish: Publish) -> None:
    publish()
    watcher.ready = 3
    assert lost_messages.repair_now(QUEUE, look=watcher.look) is None
    assert states() == [State.PUBLISHED]


def test_on_demand_everything_is_published_again_however_much_it_is(watcher: Watcher, publish: Publish) -> None:
    for _ in range(5):
        publish()
    assert lost_messages.repair_now(QUEUE, look=watcher.look, at_most=2) == 5


def test_one_process_at_a_time_leases_a_queue() -> None:
    WatchedQueue.objects.create(name=QUEUE)
    other = uuid4()
    assert acquire_leadership(QUEUE, token=TOKEN, seconds=30)
    assert not acquire_leadership(QUEUE, token=other, seconds=30)
    assert acquire_leadership(QUEUE, token=TOKEN, seconds=30)
    WatchedQueue.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert acquire_leadership(QUEUE, token=other, seconds=30)
    resign(TOKEN)
    assert not acquire_leadership(QUEUE, token=TOKEN, seconds=30)
    resign(other)
    assert acquire_leadership(QUEUE, token=TOKEN, seconds=30)


def test_the_queues_of_actors_and_of_published_messages_are_watched(publish: Publish) -> None:
    publish(queue="renamed since")
    publish(queue="renamed since")
    publish(queue="a second")
    publish(queue="never published", state=State.PENDING)
    assert list(queues_published_to()) == ["a second", "renamed since"]
    assert list(queues_published_to(besides={"b", "Я", "renamed since"})) == ["a second"]
    assert list(queues_published_to(besides={"a second", QUEUE})) == ["renamed since"]
    assert {"a second", "renamed since", QUEUE} <= set(queues_to_watch())
    assert set(queues_to_watch()) == set(WatchedQueue.objects.values_list("name", flat=True))


def test_the_index_entries_of_an_actors_queue_are_not_read_to_find_other_queues(
    publish: Publish, held_snapshot: int
) -> None:
    before = entries_read("outbox_published", queues_to_watch)  # what other tests have left of other queues
    for _ in range(100):
        publish()
    OutboxMessage.objects.all().delete()
    assert entries_read("outbox_published", queues_to_watch) <= before
    assert entries_read("outbox_published", lambda: list(queues_published_to())) >= 100
