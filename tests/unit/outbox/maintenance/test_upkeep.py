"""One process at a time does the upkeep of a queue, and survives outages; RabbitMQ is faked."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dramatiq
import pytest
from django.db import OperationalError, connection
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker
from pytest_django import Settings

from actors.outbox import background, wakeup
from actors.outbox.amqp.outage import rabbitmq_outage
from actors.outbox.background import BackgroundThreads
from actors.outbox.maintenance import upkeep
from actors.outbox.maintenance.upkeep import Upkeep, UpkeepThread
from actors.outbox.models import OutboxMessage, State, WatchedQueue
from actors.outbox.operations import horizon

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

QUEUE = "tests"


@dataclass
class Line:
    """A connection to a RabbitMQ with empty queues, unless the test sets another count or a failure."""

    is_open: bool = True
    ready: int = 0
    failure: Exception | None = None
    looked_at: list[str] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)

    def close_quickly(self) -> None:
        self.is_open = False

    def abort_soon(self) -> None:
        """Do nothing: this connection never waits."""

    def look(self, queue: str) -> int:
        if self.failure is not None:
            raise self.failure
        self.looked_at.append(queue)
        return self.ready


@dataclass
class Rabbitmq:
    """Makes connections and records them."""

    lines: list[Line] = field(default_factory=list)
    failure: Exception | None = None

    def connect(self) -> Any:
        if self.failure is not None:
            raise self.failure
        self.lines.append(Line())
        return self.lines[-1]


@pytest.fixture(autouse=True)
def only_queue(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Have only one queue to watch, with fakes for its counts."""
    settings.OUTBOX_REPAIR_AFTER_SECONDS = 0.0
    monkeypatch.setattr(dramatiq.get_broker(), "get_declared_queues", lambda: {QUEUE})
    monkeypatch.setattr(upkeep, "count_ready", Line.look)
    monkeypatch.setattr(upkeep, "collect_dead_letters", lambda line, queue: line.collected.append(queue))


@pytest.fixture
def rabbitmq() -> Rabbitmq:
    return Rabbitmq()


@pytest.fixture
def one(rabbitmq: Rabbitmq) -> Upkeep:
    return Upkeep(connect=rabbitmq.connect)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [one.getMessage() for one in caplog.records if one.name.startswith("actors.outbox")]


def test_a_step_looks_at_each_queue_and_collects_its_dead_letters(one: Upkeep, rabbitmq: Rabbitmq) -> None:
    assert one.step()
    [line] = rabbitmq.lines
    assert (line.looked_at, line.collected) == ([QUEUE], [QUEUE])


def test_what_is_lost_is_published_again(one: Upkeep, actor: Callable[..., dramatiq.Actor[Any, Any]]) -> None:
    one.step()
    actor(lambda: None).send()
    row = OutboxMessage.objects.get()
    before_it_was_seen_empty = row.created_at.replace(year=row.created_at.year - 1)
    OutboxMessage.objects.update(state=State.PUBLISHED, published_at=before_it_was_seen_empty)
    one.step()
    assert OutboxMessage.objects.get().state == State.PENDING


def test_of_two_processes_one_looks_and_only_it_has_a_connection(rabbitmq: Rabbitmq) -> None:
    leader, other = Upkeep(connect=rabbitmq.connect), Upkeep(connect=rabbitmq.connect)
    for _ in range(3):
        assert leader.step()
        assert not other.step()
    assert len(rabbitmq.lines) == 1
    assert other.connection is None


def test_when_the_leader_ends_it_closes_its_connection_and_another_takes_over(rabbitmq: Rabbitmq) -> None:
    leader, other = Upkeep(connect=rabbitmq.connect), Upkeep(connect=rabbitmq.connect)
    leader.step()
    leader.end()
    assert not rabbitmq.lines[0].is_open
    assert other.step()
    assert not leader.step()


def test_a_process_that_lost_its_lease_closes_its_connection(rabbitmq: Rabbitmq) -> None:
    frozen, other = Upkeep(connect=rabbitmq.connect, lease_seconds=-1), Upkeep(connect=rabbitmq.connect)
    frozen.step()
    other.step()
    assert not frozen.step()
    assert [line.is_open for line in rabbitmq.lines] == [False, True]


def test_a_held_horizon_is_logged_while_rabbitmq_is_away(
    held_snapshot: int, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(horizon, "MIN_HELD_SECONDS", 0)
    with pytest.raises(AMQPConnectionError):
        Upkeep(connect=Rabbitmq(failure=AMQPConnectionError()).connect).step()
    [held] = logged()
    assert held.startswith(f"horizon: held by session pid={held_snapshot} ")


def test_a_held_horizon_is_logged_once_and_so_is_its_end(
    one: Upkeep, held_snapshot: int, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(horizon, "MIN_HELD_SECONDS", 0)
    for _ in range(3):
        one.step()
    [held] = logged()
    assert held.startswith(f"horizon: held by session pid={held_snapshot} application_name='backup' user='postgres'")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [held_snapshot])
    for _ in range(3):
        one.step()
    [_held, released] = logged()
    assert released.startswith(f"horizon: released by session pid={held_snapshot} ")


def test_a_lost_connection_is_made_again(one: Upkeep, rabbitmq: Rabbitmq) -> None:
    one.step()
    rabbitmq.lines[0].is_open = False
    one.step()
    assert len(rabbitmq.lines) == 2


def test_a_refused_queue_is_logged_once_and_disturbs_no_other(
    one: Upkeep, rabbitmq: Rabbitmq, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]]
) -> None:
    def look(line: Line, queue: str) -> int:
        if queue == "refused":
            raise ChannelClosedByBroker(406, "inequivalent arg 'x-queue-type' for queue 'refused.XQ'")
        return line.look(queue)

    monkeypatch.setattr(upkeep, "count_ready", look)
    monkeypatch.setattr(dramatiq.get_broker(), "get_declared_queues", lambda: {QUEUE, "refused"})
    for _ in range(3):
        one.step()
    assert rabbitmq.lines[0].looked_at == [QUEUE] * 3
    [line] = logged()
    assert line.startswith("queue refused unavailable for='upkeep' queue=refused.XQ argument=x-queue-type")


@pytest.fixture
def running(rabbitmq: Rabbitmq) -> UpkeepThread:
    """An upkeep thread that is not started: the test calls its steps."""
    return UpkeepThread(rabbitmq.connect, period_seconds=1)


def test_an_outage_of_rabbitmq_is_logged_once_and_its_end_too(
    running: UpkeepThread, rabbitmq: Rabbitmq, logged: Callable[[], list[str]]
) -> None:
    rabbitmq.failure = AMQPConnectionError("refused")
    for _ in range(3):
        running.step()
    rabbitmq.failure = None
    for _ in range(3):
        running.step()
    assert [line.split(" for=")[0].split(" after")[0] for line in logged()] == [
        "rabbitmq unavailable",
        "rabbitmq available again",
    ]


def test_a_process_that_cannot_reach_rabbitmq_lets_another_one_try(running: UpkeepThread, rabbitmq: Rabbitmq) -> None:
    rabbitmq.failure = AMQPConnectionError("refused")
    running.step()
    assert WatchedQueue.objects.get().lease_token is None
    assert Upkeep(connect=Rabbitmq().connect).step()


def test_another_process_that_leads_is_no_end_of_an_outage_but_lets_this_ones_other_parts_see_it(
    running: UpkeepThread, rabbitmq: Rabbitmq, logged: Callable[[], list[str]]
) -> None:
    rabbitmq.failure = AMQPConnectionError("refused")
    running.step()
    assert Upkeep(connect=Rabbitmq().connect).step()
    for _ in range(3):
        running.step()
    assert [line.split(" for=")[0] for line in logged()] == ["rabbitmq unavailable"]
    rabbitmq_outage.recover("relay")
    assert logged()[-1].startswith("rabbitmq available again")


def test_an_outage_of_the_database_is_logged_once_and_survived(
    running: UpkeepThread, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]], rabbitmq: Rabbitmq
) -> None:
    def away() -> list[str]:
        raise OperationalError("server closed the connection")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(upkeep, "queues_to_watch", away)
        for _ in range(3):
            running.step()
    running.step()
    assert [line.split(" after")[0] for line in logged()] == [
        "database unavailable for='upkeep' reason='server closed the connection'",
        "database available again",
    ]
    assert rabbitmq.lines[0].looked_at == [QUEUE]


def test_whatever_else_goes_wrong_it_looks_again(
    running: UpkeepThread, rabbitmq: Rabbitmq, logged: Callable[[], list[str]]
) -> None:
    running.step()
    rabbitmq.lines[0].failure = ZeroDivisionError()
    running.step()
    running.step()
    assert logged() == ["upkeep: step failed"]
    assert rabbitmq.lines[1].looked_at == [QUEUE]


def test_a_thread_that_is_stopped_gives_its_leases_up_and_closes_its_connection(
    running: UpkeepThread, rabbitmq: Rabbitmq
) -> None:
    running.step()
    running.request_stop()
    running.run()
    assert [line.is_open for line in rabbitmq.lines] == [False]
    assert WatchedQueue.objects.get().lease_token is None


# The process's threads


class FakeThread:
    """Is alive between start and stop."""

    made: list["FakeThread"]

    def __init__(self, *_arguments: Any) -> None:
        self.calls: list[str] = []
        self.made.append(self)

    def start(self) -> None:
        self.calls.append("start")

    def is_alive(self) -> bool:
        return "start" in self.calls and self.calls[-1] not in {"stop", "died"}

    def request_stop(self) -> None:
        self.calls.append("request_stop")

    def stop(self) -> None:
        self.calls.append("stop")

    def wake(self, _at: float) -> None:
        self.calls.append("wake")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[FakeThread]:
    FakeThread.made = []
    monkeypatch.setattr(wakeup, "_wake", lambda _at: None)
    monkeypatch.setattr(background, "_publishes", lambda: True)
    monkeypatch.setattr(background, "RelayThread", FakeThread)
    monkeypatch.setattr(background, "make_upkeep_thread", FakeThread)
    return FakeThread.made


def test_upkeep_lives_beside_the_relay(threads: list[FakeThread], settings: Settings) -> None:
    settings.OUTBOX_RELAY_THREAD = True
    process = BackgroundThreads()
    process.start()
    process.start()
    assert [one.calls for one in threads] == [["start"], ["start"]]
    process.stop()
    assert [one.calls for one in threads] == [["start", "request_stop", "stop"]] * 2


def test_a_commit_wakes_the_relay_that_runs_and_no_other(threads: list[FakeThread], settings: Settings) -> None:
    settings.OUTBOX_RELAY_THREAD = True
    process = BackgroundThreads()
    wakeup.wake_relay_on_commit()
    process.start()
    wakeup.wake_relay_on_commit()
    process.stop()
    wakeup.wake_relay_on_commit()
    assert [one.calls for one in threads] == [
        ["start", "wake", "request_stop", "stop"],
        ["start", "request_stop", "stop"],
    ]


def test_after_a_fork_both_start_again(threads: list[FakeThread], settings: Settings) -> None:
    settings.OUTBOX_RELAY_THREAD = True
    process = BackgroundThreads()
    process.start()
    process.forget()
    process.start()
    assert [one.calls for one in threads] == [["start"]] * 4


def test_a_thread_that_died_is_replaced(threads: list[FakeThread], settings: Settings) -> None:
    settings.OUTBOX_RELAY_THREAD = True
    process = BackgroundThreads()
    process.start()
    threads[1].calls.append("died")
    process.start()
    assert [one.calls for one in threads] == [["start"], ["start", "died"], ["start"]]


def test_where_no_relay_is_wanted_nothing_starts(threads: list[FakeThread]) -> None:
    BackgroundThreads().start()
    assert threads == []
