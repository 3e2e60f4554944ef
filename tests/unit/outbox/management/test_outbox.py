"""`manage.py outbox`: what status shows, what repair and cancel do, and what they refuse."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import dramatiq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.management.commands import outbox
from actors.outbox.management.commands.outbox import duration
from actors.outbox.models import DeadLetterDecision, Operator, OutboxMessage, State
from actors.outbox.operations import horizon
from actors.outbox.operations.cancel import DEAD, IN_HAND, IN_RABBITMQ, cancel
from actors.outbox.operations.stats import measure_rate
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

QUEUE = "tests"


@pytest.fixture
def send(actor: Callable[..., dramatiq.Actor[Any, Any]]) -> Callable[..., int]:
    """Send a message, and change its row."""
    declared = actor(lambda: None)

    def send(*, subject: str = "", **changes: Any) -> int:
        declared.send_with_options(subject=subject)
        row_id = OutboxMessage.objects.latest("pk").pk
        OutboxMessage.objects.filter(pk=row_id).update(**{"state": State.PENDING, **changes})
        return int(row_id)

    return send


Send = Callable[..., int]


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command("outbox", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


# status


def test_status_counts_each_state_and_says_how_old_the_oldest_is(send: Send) -> None:
    send(due_at=Now() - timedelta(hours=2, minutes=5))
    send()
    send(state=State.DEAD, reason="throws")
    shown = run("status", "--seconds", 0)
    lines = {line.split()[0]: line for line in reversed(shown.splitlines())}
    assert lines["pending"].split() == ["pending", "2", "oldest", "2", "h", "5", "min"]
    assert lines["published"].split() == ["published", "0"]
    assert "         1  throws" in shown


def test_status_as_json_says_the_same(send: Send) -> None:
    later = Now() + timedelta(seconds=30)
    send(lease_token=uuid4(), lease_until=later)
    send(state=State.PUBLISHED, held_until=later)
    send(state=State.DEAD, reason="throws")
    send(state=State.DEAD, reason="throws")
    shown = json.loads(run("status", "--json", "--seconds", 0))
    assert {state: row["count"] for state, row in shown["states"].items()} == {
        "pending": 1,
        "published": 1,
        "scheduled": 0,
        "dead": 2,
    }
    assert shown["states"]["dead"]["oldest_seconds"] >= 0
    assert shown["states"]["scheduled"]["oldest_seconds"] is None
    assert (shown["leased"], shown["held"], shown["dead"], shown["rate"]) == (1, 1, {"throws": 2}, None)


def test_status_names_what_has_held_the_horizon(held_snapshot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(run("status", "--json", "--seconds", 0))["horizon"] == []
    monkeypatch.setattr(horizon, "MIN_HELD_SECONDS", 0)
    name = f"session pid={held_snapshot} application_name='backup' user='postgres'"
    [held] = json.loads(run("status", "--json", "--seconds", 0))["horizon"]
    assert (held["name"], held["seconds"] >= 0, held["transactions"] >= 0) == (name, True, True)
    assert f"transactions ago, held for 0 s by {name}" in run("status", "--seconds", 0)


@pytest.fixture
def onlooker(database: str) -> Iterator[None]:
    """Query as a role without rights, which may not see the times of other roles' sessions."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE onlooker")
        cursor.execute("SET ROLE onlooker")
        yield
        cursor.execute("RESET ROLE")
        cursor.execute("DROP ROLE onlooker")


def test_a_session_whose_times_are_not_shown_is_named_after_many_transactions(
    held_snapshot: int, onlooker: None, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "MIN_TRANSACTIONS", 5)
    assert horizon.holders() == []
    for _ in range(5):
        in_another_thread(send).join()
    [held] = horizon.holders()
    assert held.name == f"session pid={held_snapshot} application_name='backup' user='postgres'"
    assert (held.seconds, held.transactions >= 5) == (None, True)


def test_the_rate_counts_what_came_and_what_went(send: Send) -> None:
    send()

    def meanwhile(seconds: float) -> None:
        OutboxMessage.objects.all().delete()
        send()
        send()
        OutboxMessage.objects.all().delete()

    rate = measure_rate(1.0, sleep=meanwhile)
    assert (rate.created, rate.settled) == (2.0, 3.0)


def test_the_rate_of_an_outbox_that_rests_is_nothing() -> None:
    rate = measure_rate(1.0, sleep=lambda _seconds: None)
    assert (rate.created, rate.settled) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59, "59 s"), (3_600, "1 h"), (3_725, "1 h 2 min"), (90_000, "1 d 1 h")]
)
def test_durations_are_for_people(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


# repair


@pytest.fixture
def rabbitmq_has(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make RabbitMQ report so many messages in each queue."""

    class Line:
        def close_quickly(self) -> None:
            """Do nothing: there is no connection."""

    def has(count: int) -> None:
        monkeypatch.setattr(outbox, "connect_to_broker", lambda **_options: Line())
        monkeypatch.setattr(outbox, "count_ready", lambda _line, _queue: count)

    return has


def test_what_rabbitmq_does_not_have_is_published_again(send: Send, rabbitmq_has: Callable[[int], None]) -> None:
    rabbitmq_has(0)
    send(state=State.PUBLISHED, published_at=Now() - timedelta(seconds=1))
    assert "tests: 1 messages are published again" in run("repair")
    assert OutboxMessage.objects.get().state == State.PENDING
    assert "tests: nothing is lost." in run("repair", "--queue", QUEUE)


def test_a_queue_that_is_not_empty_is_not_repaired(send: Send, rabbitmq_has: Callable[[int], None]) -> None:
    rabbitmq_has(1)
    send(state=State.PUBLISHED, published_at=Now() - timedelta(seconds=1))
    assert "tests: is not empty" in run("repair")
    assert OutboxMessage.objects.get().state == State.PUBLISHED


def test_a_queue_that_does_not_exist_cannot_be_repaired(send: Send) -> None:
    with pytest.raises(CommandError, match=r"no queue 'else'; there are: .*tests"):
        run("repair", "--queue", "else")


def test_without_rabbitmq_a_repair_says_so(send: Send, closed_port: int) -> None:
    stub = dramatiq.get_broker()
    url = ";".join(f"amqp://guest:secret@127.0.0.1:{port}/" for port in (closed_port, 1))
    dramatiq.set_broker(OutboxRabbitmqBroker(url=url, middleware=[]))
    try:
        with pytest.raises(CommandError, match=f"at 127.0.0.1:{closed_port}, 127.0.0.1:1: .*refused") as refusal:
            run("repair")
        assert "secret" not in str(refusal.value)
    finally:
        dramatiq.set_broker(stub)


# cancel


def test_what_waits_is_cancelled(send: Send) -> None:
    ids = [send(), send(state=State.SCHEDULED), send(lease_token=uuid4(), lease_until=Now() - timedelta(seconds=1))]
    kept = send()
    assert "Cancelled: 3." in run("cancel", *ids)
    assert OutboxMessage.objects.get().pk == kept


def test_what_is_on_its_way_is_not_cancelled_and_the_reasons_are_given(send: Send) -> None:
    ids = [
        send(lease_token=uuid4(), lease_until=Now() + timedelta(seconds=30)),
        send(state=State.PUBLISHED),
        send(state=State.DEAD),
        send(),
    ]
    with pytest.raises(CommandError, match="Not cancelled: 4") as refusal:
        run("cancel", *ids, 999_999_999)
    assert all(reason in str(refusal.value) for reason in (DEAD, IN_HAND, IN_RABBITMQ, "there is none"))
    assert set(OutboxMessage.objects.values_list("pk", flat=True)) == set(ids[:3])


def test_messages_are_cancelled_by_subject_actor_and_key(send: Send) -> None:
    send(subject="task:1")
    send(subject="task:1", actor="another")
    send(dedupe_key="once")
    send()
    run("cancel", "--subject", "task:1", "--actor", "another")
    assert OutboxMessage.objects.count() == 3
    run("cancel", "--subject", "task:1")
    run("cancel", "--dedupe-key", "once")
    assert OutboxMessage.objects.count() == 1


def test_to_cancel_everything_one_has_to_say_what(send: Send) -> None:
    send()
    with pytest.raises(CommandError, match="Say which"):
        run("cancel")
    with pytest.raises(CommandError, match="No message is like that"):
        run("cancel", "--subject", "task:2")
    assert OutboxMessage.objects.count() == 1


@pytest.mark.parametrize(
    ("options", "by", "why"),
    [
        (["--why", "not wanted", "--by", "op"], "op", "not wanted"),
        ([], "the-os-user", "manage.py outbox cancel, without a reason"),
    ],
)
def test_a_cancellation_is_recorded(
    send: Send, monkeypatch: pytest.MonkeyPatch, options: list[str], by: str, why: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "the-os-user")
    row_id = send(subject="task:1")
    assert run("cancel", row_id, *options) == "Cancelled: 1.\n"
    [record] = DeadLetterDecision.objects.all()
    assert (record.row_id, record.decision, record.decided_by, record.why) == (row_id, "cancelled", by, why)
    assert (record.subject, record.reason) == ("task:1", "")


def test_a_cancellation_of_many_rows_whose_bodies_are_deferred_reads_them_together(
    send: Send, django_assert_max_num_queries: Any
) -> None:
    rows = [send(subject=f"task:{number}") for number in range(20)]
    with django_assert_max_num_queries(10):
        assert cancel(OutboxMessage.objects.defer("body", "error"), by=Operator(name="ops"), why="x") == len(rows)
    assert [bool(one.body) for one in DeadLetterDecision.objects.all()] == [True] * len(rows)


def test_a_cancellation_that_fails_deletes_nothing(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("no record")

    row_id = send()
    monkeypatch.setattr(type(DeadLetterDecision.objects), "bulk_create", fail)
    with pytest.raises(ValueError, match="no record"):
        run("cancel", row_id)
    assert OutboxMessage.objects.get().pk == row_id


def test_many_messages_are_cancelled_a_batch_at_a_time(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.outbox.operations.cancel.BATCH", 2)
    ids = [send(subject="task:1") for _ in range(5)]
    assert run("cancel", "--subject", "task:1") == "Cancelled: 5.\n"
    assert sorted(DeadLetterDecision.objects.values_list("row_id", flat=True)) == ids
