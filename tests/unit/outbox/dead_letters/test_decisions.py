"""Dead letters of every origin are kept; a decision on one is carried out once and recorded."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dramatiq
import pika
import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection
from django.utils import timezone

from actors.outbox import envelope
from actors.outbox.dead_letters import collector, decisions, payload
from actors.outbox.dead_letters.payload import UnfitMessage
from actors.outbox.models import DeadLetterDecision, Operator, OutboxMessage, State
from tests.unit.outbox.inline_worker import QUEUE, InlineWorker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]

OPERATOR = Operator(name="operator", user_id=7)
REJECTED = {"x-death": [{"reason": "rejected", "queue": QUEUE, "count": 1}]}
LIMIT = {"x-death": [{"reason": "delivery_limit", "queue": QUEUE, "count": 1}]}
GARBAGE = b"\xff\x00 no message"


@dataclass
class FakeChannel:
    """A dead-letter queue; messages that are not acknowledged come back, marked as redelivered."""

    letters: deque[tuple[Any, ...]] = field(default_factory=deque)
    taken: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    is_open: bool = True
    tags: int = 0

    def put(self, body: bytes, headers: dict[Any, Any] | None, **properties: Any) -> None:
        self.letters.append((False, pika.BasicProperties(headers=headers, **properties), body))

    def basic_get(self, queue: str, *, auto_ack: bool) -> tuple[Any, ...]:
        assert (queue, auto_ack) == (f"{QUEUE}.XQ", False)
        if not self.letters:
            return None, None, None
        self.tags += 1
        self.taken[self.tags] = letter = self.letters.popleft()
        redelivered, properties, body = letter
        return SimpleNamespace(delivery_tag=self.tags, redelivered=redelivered), properties, body

    def basic_ack(self, tag: int) -> None:
        del self.taken[tag]

    def basic_nack(self, tag: int, *, requeue: bool) -> None:
        assert requeue
        self.letters.append((True, *self.taken.pop(tag)[1:]))

    def lose(self) -> None:
        """Requeue what was delivered, as RabbitMQ does when the connection of a killed collector ends."""
        self.letters.extend((True, *letter[1:]) for letter in self.taken.values())
        self.taken.clear()


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


def collect(channel: FakeChannel, at_most: int = 10) -> int:
    return collector.collect(channel, QUEUE, at_most=at_most)


def only_row() -> OutboxMessage:
    return OutboxMessage.objects.get()


def all_rows() -> Any:
    return OutboxMessage.objects.all()


def put_row(channel: FakeChannel, row: OutboxMessage, headers: dict[str, Any] | None = None) -> None:
    outgoing = envelope.to_amqp(row)
    channel.put(outgoing.body, outgoing.properties.headers | (REJECTED if headers is None else headers))


def kill(row: OutboxMessage, **fields: Any) -> None:
    this = OutboxMessage.objects.filter(pk=row.pk)
    this.mark_dead("retries exhausted", error="ValueError: x", traceback="Traceback …")
    this.update(published_at=timezone.now(), starts=3, **fields)


def add(name: str = "effect") -> None:
    Group.objects.create(name=name)


def test_what_rabbitmq_gave_up_is_its_row_s_death(channel: FakeChannel, actor: Declare) -> None:
    actor(add).send()
    put_row(channel, only_row(), LIMIT)
    assert collect(channel) == 1
    row = only_row()
    assert (row.state, row.reason) == (State.DEAD, "delivery limit")
    assert row.error == "RabbitMQ: delivery_limit in queue 'tests', 1×"
    assert row.died_at is not None
    assert (channel.letters, channel.taken) == (deque(), {})


def test_of_a_settled_message_nothing_is_kept(
    channel: FakeChannel, actor: Declare, inline_worker: InlineWorker
) -> None:
    actor(add).send()
    put_row(channel, only_row())
    inline_worker.deliver(only_row())
    assert collect(channel) == 1
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("change", [{"attempt": 1}, {"state": State.DEAD, "reason": "throws"}, {"message_id": "new"}])
def test_a_superseded_message_is_dropped(channel: FakeChannel, actor: Declare, change: dict[str, Any]) -> None:
    actor(add).send()
    put_row(channel, only_row())
    OutboxMessage.objects.update(**change)
    before = only_row()
    assert collect(channel) == 1
    after = only_row()
    assert (after.state, after.reason, after.attempt) == (before.state, before.reason, before.attempt)


def test_a_message_under_an_execution_lease_waits_and_blocks_no_other(channel: FakeChannel, actor: Declare) -> None:
    actor(add).send()
    put_row(channel, only_row())
    OutboxMessage.objects.update(held_until=timezone.now() + timedelta(hours=1))
    channel.put(GARBAGE, REJECTED)
    assert collect(channel) == 1
    assert sorted(OutboxMessage.objects.values_list("state", flat=True)) == [State.DEAD, State.PENDING]
    OutboxMessage.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert collect(channel) == 1
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {State.DEAD}


def test_a_message_that_is_being_settled_waits(channel: FakeChannel, actor: Declare, database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no row locks")
    actor(add).send()
    put_row(channel, only_row())
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as worker:
        worker.execute("SELECT * FROM outbox_outboxmessage FOR UPDATE")
        assert collect(channel) == 0
    assert (only_row().state, len(channel.letters)) == (State.PENDING, 1)
    assert collect(channel) == 1


def test_a_database_that_is_away_leaves_the_letter_to_rabbitmq(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **columns: Any) -> None:
        raise OperationalError("server closed the connection")

    channel.put(GARBAGE, REJECTED)
    with monkeypatch.context() as patch:
        patch.setattr(collector, "_add", fail)
        with pytest.raises(OperationalError):
            collect(channel)
    assert len(channel.letters) == 1
    assert collect(channel) == 1


def test_a_collector_takes_no_more_than_at_most(channel: FakeChannel) -> None:
    for number in range(3):
        channel.put(b"%d" % number, REJECTED)
    assert [collect(channel, 2), collect(channel, 2), collect(channel, 2)] == [2, 1, 0]


def collect_and_die(channel: FakeChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a dead letter to a row, and be killed before it is acknowledged."""

    def die(tag: int) -> None:
        channel.is_open = False
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(channel, "basic_ack", die)
        with pytest.raises(SystemExit):
            collect(channel)
    channel.is_open = True
    channel.lose()


def test_a_collector_killed_before_it_acknowledged_writes_once(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.put(GARBAGE, REJECTED)
    collect_and_die(channel, monkeypatch)
    assert collect(channel) == 1
    assert OutboxMessage.objects.count() == 1


def test_a_letter_that_was_decided_on_meanwhile_does_not_come_back(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.put(GARBAGE, REJECTED)
    collect_and_die(channel, monkeypatch)
    decisions.discard(OutboxMessage.objects.all(), by=OPERATOR, why="garbage")
    assert collect(channel) == 1
    assert not OutboxMessage.objects.exists()


def test_two_equal_strangers_are_two_dead_letters(channel: FakeChannel) -> None:
    channel.put(GARBAGE, REJECTED)
    channel.put(GARBAGE, REJECTED)
    assert collect(channel) == 2
    assert OutboxMessage.objects.count() == 2


def test_a_stranger_is_kept_as_it_came(channel: FakeChannel) -> None:
    headers = {**REJECTED, "subject": "task:1", "request_id": "r1"}
    channel.put(GARBAGE, headers, message_id="m1", type="mail")
    collect(channel)
    row = only_row()
    assert (row.state, row.reason, row.queue, row.body) == (State.DEAD, "undecodable", QUEUE, GARBAGE)
    assert (row.message_id, row.actor, row.subject, row.request_id) == ("m1", "mail", "task:1", "r1")
    assert row.error.startswith("UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0")
    assert row.error.endswith("RabbitMQ: rejected in queue 'tests', 1×")


def test_a_stranger_is_named_by_its_queue_and_its_first_bytes(
    channel: FakeChannel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.put(b"no message \n" * 1_000, REJECTED)
    collect(channel)
    [line] = caplog.messages
    assert "JSONDecodeError: Expecting value: line 1 column 1 (char 0)" in line
    assert f"queue={QUEUE} reason='undecodable' body=b'no message \\nno message \\n" in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("options", "actor_name", "headers", "reason"),
    [
        ({}, "known", REJECTED, "rejected"),
        ({}, "known", {"x-first-death-reason": "expired"}, "expired"),
        ({}, "known", {}, "rejected"),
        ({}, "missing", REJECTED, "unknown actor"),
        ({}, "missing", LIMIT, "delivery limit"),
        ({"max_age": 1_000}, "known", REJECTED, "too old"),
        ({"max_age": 10**15}, "known", REJECTED, "rejected"),
    ],
)
def test_why_a_stranger_that_is_admitted_died(
    channel: FakeChannel,
    actor: Declare,
    settings: Any,
    options: dict[str, Any],
    actor_name: str,
    headers: Any,
    reason: str,
) -> None:
    settings.OUTBOX_FOREIGN_MESSAGES = True
    known = actor(add, actor_name="known").message()
    channel.put(known.copy(actor_name=actor_name, message_timestamp=1_000, options=options).encode(), headers)
    collect(channel)
    assert (only_row().reason, only_row().actor) == (reason, actor_name)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 100_000,
        b"9" * 10_000,
        b"[]",
        b'{"args": 5}',
        b'{"queue_name":"q","actor_name":"\\ud800\\u0000","args":[],"kwargs":{},"options":{},"message_id":"\\ud800"}',
        b'{"queue_name":"q","actor_name":["a"],"args":[],"kwargs":{},"options":{},"message_id":1}',
        b'{"queue_name":"q","actor_name":"a","args":[],"kwargs":{},"options":[],"message_id":"1"}',
        b'{"queue_name":"q","actor_name":"a","args":[],"kwargs":{},"options":{"outbox":7},"message_id":"1"}',
        b'{"queue_name":"q","actor_name":"a","args":[],"kwargs":{},"options":{},"message_timestamp":NaN}',
        b'{"queue_name":"q","actor_name":"a","args":[],"kwargs":{},"options":{},"message_timestamp":1e300}',
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"x-death": "no list", "subject": 5},
        {"x-death": [], "x-first-death-reason": b"\xff"},
        {"x-death": [None], "subject": "\0" * 500, "request_id": b"\xff"},
        {"x-death": [{"reason": {}, "queue": 1, "count": "many"}], "outbox": b"1:2"},
        {"x-death": [{"reason": "\0", "queue": "q\0" * 500, "count": 10**30}], "outbox": {}},
        {"x-death": [{"reason": "x" * 5_000}], "outbox": datetime(2020, 1, 1, tzinfo=UTC), "subject": ["task:1"]},
    ],
)
def test_garbage_is_kept_and_breaks_nothing(channel: FakeChannel, body: bytes, headers: dict[Any, Any] | None) -> None:
    channel.put(body, headers, message_id="m" * 200, type="a\0" * 100)
    assert collect(channel) == 1
    assert (only_row().state, bytes(only_row().body)) == (State.DEAD, body[: collector.MAX_FOREIGN_BYTES])
    assert payload.legible(body).encode() is not None


def test_of_a_flood_so_many_are_kept_and_the_rest_is_dropped_until_an_operator_has_decided(
    channel: FakeChannel, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "MAX_FOREIGN", 3)
    actor(add).send("ours")
    sent = only_row()
    for number in range(5):
        channel.put(b"%d" % number, REJECTED)
    assert collect(channel) == 5
    assert [bytes(row.body) for row in all_rows().exclude(pk=sent.pk).order_by("pk")] == [b"0", b"1", b"2"]
    OutboxMessage.objects.filter(pk=sent.pk).update(claimed_at=timezone.now())
    put_row(channel, sent)
    collect(channel)
    assert OutboxMessage.objects.get(pk=sent.pk).state == State.DEAD
    decisions.discard(all_rows().exclude(pk=sent.pk), by=OPERATOR, why="forged")
    channel.put(b"5", REJECTED)
    collect(channel)
    assert bytes(OutboxMessage.objects.latest("pk").body) == b"5"


@pytest.mark.parametrize(
    "changes",
    [
        {"actor_name": "missing"},
        {"args": ("another",)},
        {"options": {"max_age": 1}},
        {"message_timestamp": 1_000},
    ],
)
def test_a_forged_dead_letter_kills_no_row(
    channel: FakeChannel, inline_worker: InlineWorker, actor: Declare, changes: dict[str, Any]
) -> None:
    actor(add).send("ours")
    row = only_row()
    true = envelope.to_amqp(row)
    channel.put(dramatiq.Message.decode(true.body).copy(**changes).encode(), {**true.properties.headers, **REJECTED})
    channel.put(b"garbage with a reference", {**true.properties.headers, **REJECTED})
    assert collect(channel) == 2
    assert only_row().state == State.PENDING
    inline_worker.deliver(row)
    assert list(Group.objects.values_list("name", flat=True)) == ["ours"]


def test_a_message_that_a_worker_refuses_to_read_kills_its_row_if_the_row_published_it(
    channel: FakeChannel, actor: Declare
) -> None:
    actor(add, actor_name="known").send_with_options(args=("ours",), throws="text")
    put_row(channel, only_row())
    collect(channel)
    assert (only_row().state, only_row().reason) == (State.DEAD, "undecodable")


def test_a_letter_of_another_installation_is_left_to_it(channel: FakeChannel, actor: Declare) -> None:
    actor(add).send("ours")
    channel.put(b"theirs", {"installation": "another", **REJECTED})
    put_row(channel, only_row())
    with pytest.raises(collector.OthersLetter):
        collect(channel)
    assert (len(channel.letters), only_row().state) == (2, State.PENDING)
    with pytest.raises(collector.OthersLetter):
        collect(channel)
    assert (len(channel.letters), only_row().state) == (1, State.DEAD)


def test_a_replay_is_a_new_attempt_with_nothing_of_the_old(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add).send("one")
    old = only_row()
    kill(old)
    decided = decisions.replay(all_rows(), by=OPERATOR, why="mended")
    row = only_row()
    assert (row.state, row.attempt, row.starts, row.published_at, row.died_at) == (State.PENDING, 1, 0, None, None)
    assert (row.reason, row.error, row.traceback) == ("", "", "")
    assert bytes(row.body) == bytes(old.body)
    assert [one.row_id for one in decided.decisions] == [row.pk]
    inline_worker.deliver(old)
    assert not Group.objects.exists()
    inline_worker.deliver_all()
    assert Group.objects.filter(name="one").count() == 1


def test_a_decision_is_remembered_when_the_row_is_gone(actor: Declare) -> None:
    actor(add).send_with_options(args=("one",), subject="task:1")
    row = only_row()
    kill(row)
    decisions.discard(all_rows(), by=OPERATOR, why="not wanted\0 any more")
    assert not OutboxMessage.objects.exists()
    kept = DeadLetterDecision.objects.get()
    assert (kept.row_id, kept.message_id, kept.queue, kept.subject) == (row.pk, row.message_id, QUEUE, "task:1")
    assert (kept.reason, kept.error, bytes(kept.body)) == ("retries exhausted", "ValueError: x", bytes(row.body))
    assert (kept.decision, kept.decided_by, kept.decided_by_id) == ("discarded", "operator", 7)
    assert kept.why == "not wanted\\0 any more"


@pytest.mark.parametrize("first", [decisions.replay, decisions.discard])
@pytest.mark.parametrize("second", [decisions.replay, decisions.discard])
def test_of_two_operators_who_decide_only_the_first_does(actor: Declare, first: Any, second: Any) -> None:
    actor(add).send()
    kill(only_row())
    rows = OutboxMessage.objects.filter(pk=only_row().pk)
    assert len(first(rows, by=OPERATOR, why="first").decisions) == 1
    assert second(rows, by=OPERATOR, why="second").decisions == []
    assert [one.why for one in DeadLetterDecision.objects.all()] == ["first"]


def test_what_is_not_dead_is_not_decided_on(actor: Declare) -> None:
    actor(add).send()
    assert decisions.discard(all_rows(), by=OPERATOR, why="").decisions == []
    assert only_row().state == State.PENDING


def test_many_are_decided_on_in_batches(actor: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "BATCH", 2)
    one = actor(add)
    for number in range(5):
        one.send(str(number))
        kill(OutboxMessage.objects.latest("pk"))
    assert len(decisions.replay(all_rows(), by=OPERATOR, why="all").decisions) == 5
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {State.PENDING}


def test_what_would_only_die_again_stays_dead_and_holds_up_no_other(channel: FakeChannel, actor: Declare) -> None:
    known = actor(add, actor_name="known")
    for body in (
        GARBAGE,
        known.message().copy(actor_name="missing").encode(),
        known.message().copy(message_id="m" * 65).encode(),
        known.message().copy(message_id="é").encode(),
        known.message().encode(),
    ):
        channel.put(body, REJECTED)
    collect(channel)
    decided = decisions.replay(all_rows(), by=OPERATOR, why="try")
    problems = [decided.refused[key] for key in sorted(decided.refused)]
    assert [len(decided.decisions), len(problems)] == [1, 4]
    for problem, expected in zip(
        problems, ["it is no message", "there is no actor 'missing'", "longer than 64", "no printable"], strict=True
    ):
        assert expected in problem
    assert OutboxMessage.objects.filter(state=State.DEAD).count() == 4
    assert DeadLetterDecision.objects.count() == 1


def test_arguments_that_an_actor_does_not_take_are_not_replayed(actor: Declare) -> None:
    actor(lambda text: None).send("one", "too many")
    OutboxMessage.objects.all().mark_dead("throws")
    decided = decisions.replay(OutboxMessage.objects.all(), by=OPERATOR, why="again")
    [problem] = decided.refused.values()
    assert "does not take these arguments" in problem
    assert OutboxMessage.objects.get().state == State.DEAD


def test_a_message_of_a_queue_that_nobody_consumes_is_not_replayed(actor: Declare) -> None:
    actor(add).send()
    kill(only_row(), queue="old")
    decided = decisions.replay(all_rows(), by=OPERATOR, why="")
    assert list(decided.refused.values()) == ["no worker consumes the queue 'old'"]


def test_a_message_that_was_too_old_is_sent_anew(actor: Declare) -> None:
    message = actor(add, max_age=60_000).message().copy(message_timestamp=1_000)
    dramatiq.get_broker().enqueue(message)
    kill(only_row())
    decisions.replay(all_rows(), by=OPERATOR, why="")
    assert dramatiq.Message.decode(bytes(only_row().body)).message_timestamp > 1_000
    assert bytes(DeadLetterDecision.objects.get().body) == message.encode()


def test_an_edited_message_is_run_in_the_place_of_the_old(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add).send("wrong")
    kill(only_row())
    body = payload.edit(only_row(), {"args": ["right"]})
    decisions.replay(all_rows(), by=OPERATOR, why="a typing error", body=body)
    decision = DeadLetterDecision.objects.get()
    sent = dramatiq.Message.decode(bytes(decision.edited_body or b""))
    assert (decision.decision, sent.args) == ("edited", ("right",))
    inline_worker.deliver_all()
    assert [group.name for group in Group.objects.all()] == ["right"]


def test_a_foreign_message_without_an_id_is_run(
    channel: FakeChannel, inline_worker: InlineWorker, actor: Declare
) -> None:
    actor(add, actor_name="known")
    fields = {"queue_name": QUEUE, "actor_name": "known", "args": ["foreign"], "kwargs": {}, "options": {}}
    channel.put(json.dumps(fields).encode(), REJECTED)
    collect(channel)
    decisions.replay(all_rows(), by=OPERATOR, why="ours")
    inline_worker.deliver(only_row())
    assert [group.name for group in Group.objects.all()] == ["foreign"]


def test_an_undecodable_message_is_mended(channel: FakeChannel, inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add, actor_name="known")
    channel.put(GARBAGE, REJECTED)
    collect(channel)
    body = payload.edit(only_row(), {"actor_name": "known", "args": ["mended"]})
    decisions.replay(all_rows(), by=OPERATOR, why="", body=body)
    row = only_row()
    assert (row.actor, row.queue) == ("known", QUEUE)
    assert row.message_id == json.loads(body)["message_id"] != ""
    inline_worker.deliver_all()
    assert Group.objects.filter(name="mended").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([], "a message is a JSON object of actor_name, args"),
        ({"arg": []}, "a message is a JSON object of actor_name, args"),
        ({"args": "text"}, "args is a list"),
        ({"kwargs": []}, "it is no message"),
        ({"message_timestamp": "now"}, "it is no message"),
        ({"actor_name": "missing"}, "there is no actor 'missing'"),
        ({"queue_name": "nowhere"}, "no worker consumes the queue 'nowhere'"),
        ({"message_id": "\n"}, "no printable"),
    ],
)
def test_an_edit_that_makes_no_message_is_refused(actor: Declare, changes: Any, problem: str) -> None:
    actor(add).send()
    kill(only_row())
    with pytest.raises(UnfitMessage, match=problem):
        payload.edit(only_row(), changes)


def test_a_body_is_shown_as_json_or_as_bytes() -> None:
    assert payload.legible('{"a":["é"]}'.encode()) == '{\n  "a": [\n    "é"\n  ]\n}'
    assert payload.legible(b"\xffabc\n") == f"00000000  {'ff 61 62 63 0a':<47}  .abc."
    assert payload.legible(b"\xff" * 5_000).endswith("… 904 bytes more")


def test_a_replayed_message_has_all_its_retries_again(inline_worker: InlineWorker, actor: Declare) -> None:
    def fail() -> None:
        raise ValueError("still broken")

    actor(fail, max_retries=1, min_backoff=1, max_backoff=1).send()
    for lives in (1, 2):
        assert inline_worker.deliver(only_row()) == "ack"
        assert (only_row().state, only_row().attempt) == (State.SCHEDULED, 2 * lives - 1)
        inline_worker.deliver(only_row())
        assert (only_row().state, only_row().reason) == (State.DEAD, "retries exhausted")
        decisions.replay(all_rows(), by=OPERATOR, why="mended")
