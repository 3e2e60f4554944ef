"""Workers that met another installation's message stop, one of them looks again at intervals, all go on afterwards."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.utils import timezone
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed

from actors.outbox.models import WatchedQueue
from actors.outbox.worker import shared_queues
from actors.outbox.worker.consumer import OutboxConsumer
from actors.outbox.worker.shared_queues import ProbingConsumer, WaitingConsumer, note_meeting, open_consumer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

QUEUE = "activity"
PREFETCH = 16
BROKER = cast(RabbitmqBroker, SimpleNamespace(actors={}))


class Connected:
    """A consumer's connection to RabbitMQ, which brings nothing."""

    def __init__(self, _broker: Any, queue: str, prefetch: int, _timeout: int, _neighbours: Any) -> None:
        self.queue_name, self.prefetch = queue, prefetch
        self.known_tags: set[int] = set()
        self.is_open = True

    def __next__(self) -> None:
        return None

    def close(self) -> None:
        self.is_open = False


@pytest.fixture(autouse=True)
def without_rabbitmq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("__init__", "__next__", "close"):
        monkeypatch.setattr(OutboxConsumer, name, getattr(Connected, name))


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(ProbingConsumer, "clock", staticmethod(lambda: now[0]))
    return now


def consume() -> Any:
    return open_consumer(BROKER, QUEUE, PREFETCH, timeout=1)


def let_a_minute_pass() -> None:
    WatchedQueue.objects.filter(name=QUEUE).update(probe_at=timezone.now() - timedelta(seconds=1))


def test_a_queue_of_our_own_is_consumed_as_ever() -> None:
    consumer = consume()
    assert (type(consumer), consumer.prefetch) == (OutboxConsumer, PREFETCH)


def test_after_a_meeting_all_workers_wait_and_after_a_minute_one_looks_with_a_prefetch_of_one() -> None:
    note_meeting(QUEUE, "theirs")
    assert {type(consume()) for _ in range(3)} == {WaitingConsumer}
    assert type(open_consumer(BROKER, "bulk", PREFETCH, timeout=1)) is OutboxConsumer
    let_a_minute_pass()
    consumers = [consume() for _ in range(3)]
    assert [type(each) for each in consumers] == [ProbingConsumer, WaitingConsumer, WaitingConsumer]
    assert consumers[0].prefetch == 1


def test_a_probe_that_meets_none_long_enough_ends_it_for_all(now: list[float]) -> None:
    note_meeting(QUEUE, "theirs")
    let_a_minute_pass()
    probe = consume()
    assert next(probe) is None
    now[0] += 31
    probe.known_tags.add(7)  # a message runs
    assert next(probe) is None
    probe.known_tags.clear()
    with pytest.raises(StopIteration):
        next(probe)
    assert not probe.is_open
    assert type(consume()) is OutboxConsumer


def test_a_probe_ends_in_time_however_many_messages_come(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    note_meeting(QUEUE, "theirs")
    let_a_minute_pass()
    probe = consume()
    monkeypatch.setattr(OutboxConsumer, "__next__", lambda _probe: "a message")
    probe.known_tags = {1}
    assert next(probe) == "a message"
    now[0] += 31
    with pytest.raises(StopIteration):
        next(probe)
    assert not probe.is_open
    assert type(consume()) is OutboxConsumer


def test_a_probe_that_meets_another_message_is_followed_by_another_wait() -> None:
    note_meeting(QUEUE, "theirs")
    let_a_minute_pass()
    assert type(consume()) is ProbingConsumer
    note_meeting(QUEUE, "theirs")
    assert type(consume()) is WaitingConsumer


def test_it_is_said_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        note_meeting(QUEUE, "theirs\n\x1b[2J" + "x" * 10_000)
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    text = record.getMessage()
    assert "RABBITMQ_URL" in text
    assert "QUEUE_PREFIX" in text
    assert text.isprintable()
    assert len(text) < 1_000


def test_two_installations_do_not_look_at_equal_intervals() -> None:
    intervals = set()
    for _ in range(5):
        note_meeting(QUEUE, "theirs")
        looks_at = WatchedQueue.objects.get(name=QUEUE).probe_at
        assert looks_at is not None
        intervals.add(round((looks_at - timezone.now()).total_seconds()))
    assert len(intervals) > 1
    assert all(29 <= seconds <= 90 for seconds in intervals)


@pytest.mark.parametrize("end", ["a minute later", "at the end of the other's probe"])
def test_a_worker_that_waits_goes_on_when_it_is_time(end: str) -> None:
    note_meeting(QUEUE, "theirs")
    now = [0.0]
    waiting = WaitingConsumer(QUEUE, 1, clock=lambda: now[0])
    now[0] += shared_queues.look_seconds()
    assert next(waiting) is None
    if end == "a minute later":
        let_a_minute_pass()
    else:
        WatchedQueue.objects.update(probe_at=None)
    assert next(waiting) is None  # it does not ask at each turn
    now[0] += shared_queues.look_seconds()
    with pytest.raises(StopIteration):
        next(waiting)


def test_messages_that_came_before_the_wait_are_not_acknowledged() -> None:
    waiting = WaitingConsumer(QUEUE, 1)
    waiting.ack(cast(Any, None))
    waiting.nack(cast(Any, None))
    waiting.requeue([])
    waiting.close()


def test_without_its_database_a_worker_does_not_consume(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def fail(queue: str) -> tuple[bool, bool]:
        raise OperationalError("away")

    monkeypatch.setattr(shared_queues, "_take_turn", fail)
    with pytest.raises(ConnectionClosed, match="database is unavailable"):
        consume()
