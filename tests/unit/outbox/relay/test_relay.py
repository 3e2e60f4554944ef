"""A relay claims rows, publishes them and marks them published; after any failure the rows are claimed again."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq
import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from actors.outbox import store
from actors.outbox.amqp.publisher import Outcome, Outgoing, Publisher
from actors.outbox.decoding import AttemptRef
from actors.outbox.models import OutboxMessage, State
from actors.outbox.relay import relay, thread
from actors.outbox.relay.relay import MAX_WINDOW, Relay
from actors.outbox.relay.thread import rest_after
from tests.unit.outbox.index_reads import entries_read
from tests.unit.outbox.race_steps import locked_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@dataclass
class FakePublisher(Publisher):
    """Confirms every message, unless `decide` is replaced."""

    ready: bool = True
    sent: list[Outgoing] = field(default_factory=list)
    woken_for: list[float] = field(default_factory=list)
    decide: Callable[[list[int]], Outcome] = lambda keys: Outcome(confirmed=keys)

    def is_ready(self) -> bool:
        return self.ready

    def run(self, timeout_seconds: float) -> None:
        """Be ready at once."""

    def rest(self, seconds: float) -> None:
        """Take no rest."""

    def wake(self, at: float = -math.inf) -> None:
        self.woken_for.append(at)

    def close(self) -> None:
        """Have nothing to close."""

    def publish(self, messages: Sequence[Outgoing], *, timeout_seconds: float, on_wait: Callable[[], None]) -> Outcome:
        self.sent.extend(messages)
        return self.decide([message.key for message in messages])


@pytest.fixture
def send(actor: Declare) -> Callable[..., OutboxMessage]:
    declared = actor(lambda *args: None)

    def send(*arguments: Any, **options: Any) -> OutboxMessage:
        declared.send_with_options(args=arguments, **options)
        return OutboxMessage.objects.latest("pk")

    return send


Send = Callable[..., OutboxMessage]


def test_a_confirmed_row_is_marked_published(send: Send) -> None:
    row = send(1)
    publisher = FakePublisher()
    Relay(publisher=publisher).step()
    row.refresh_from_db()
    assert (row.state, row.lease_token, row.lease_until) == (State.PUBLISHED, None, None)
    assert row.published_at is not None
    [message] = publisher.sent
    options = dramatiq.Message.decode(message.body).options
    assert AttemptRef.of(options) == AttemptRef(row_id=row.pk, attempt=0)


def test_messages_are_legible_to_an_operator_who_watches_rabbitmq(send: Send) -> None:
    row = send(1, subject="task:1")
    publisher = FakePublisher()
    Relay(publisher=publisher).step()
    properties = publisher.sent[0].properties
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert (properties.message_id, properties.type, properties.app_id) == (row.message_id, row.actor, "vazifa")
    assert properties.headers["subject"] == "task:1"


def test_nothing_is_claimed_while_nothing_can_be_published(send: Send) -> None:
    row = send()
    assert Relay(publisher=FakePublisher(ready=False)).step() is False
    row.refresh_from_db()
    assert (row.state, row.lease_token) == (State.PENDING, None)


def test_what_was_not_confirmed_is_claimed_again_after_the_others(send: Send) -> None:
    row = send()
    publisher = FakePublisher(decide=lambda keys: Outcome(unknown=keys))
    one = Relay(publisher=publisher)
    assert one.step() is False
    postponed = OutboxMessage.objects.get()
    assert (postponed.state, postponed.lease_token) == (State.PENDING, None)
    assert postponed.due_at > row.due_at
    OutboxMessage.objects.update(due_at=Now())
    publisher.decide = lambda keys: Outcome(confirmed=keys)
    one.step()
    assert OutboxMessage.objects.get().state == State.PUBLISHED
    assert len(publisher.sent) == 2


def test_a_publisher_that_fails_leaves_nothing_leased(send: Send) -> None:
    def fail(keys: list[int]) -> Outcome:
        raise OSError("gone")

    row = send()
    with pytest.raises(OSError, match="gone"):
        Relay(publisher=FakePublisher(decide=fail)).step()
    row.refresh_from_db()
    assert (row.state, row.lease_token) == (State.PENDING, None)


def test_what_rabbitmq_will_never_take_is_a_dead_letter(send: Send) -> None:
    send()
    Relay(publisher=FakePublisher(decide=lambda keys: Outcome(refused=dict.fromkeys(keys, "too large")))).step()
    row = OutboxMessage.objects.get()
    assert (row.state, row.reason, row.error) == (State.DEAD, "refused by RabbitMQ", "too large")


def test_a_row_that_is_no_message_dies_and_holds_up_no_other(send: Send) -> None:
    broken, healthy = send(), send()
    OutboxMessage.objects.filter(pk=broken.pk).update(body=b"{")
    publisher = FakePublisher()
    one = Relay(publisher=publisher)
    one.window = 10
    one.step()
    broken.refresh_from_db()
    healthy.refresh_from_db()
    assert (broken.state, broken.reason, broken.lease_token) == (State.DEAD, "undecodable", None)
    assert healthy.state == State.PUBLISHED
    assert [message.key for message in publisher.sent] == [healthy.pk]


def test_a_step_that_found_less_than_it_asked_for_expects_no_more(send: Send) -> None:
    one = Relay(publisher=FakePublisher())
    assert one.step() is False
    for _ in range(3):
        send()
    assert one.step() is True
    assert one.step() is False
    assert not relay.ready_rows().exists()


def test_a_message_is_sent_in_the_millisecond_in_which_it_fell_due(send: Send) -> None:
    for _ in range(20):
        send()
        assert Relay(publisher=FakePublisher()).step() is True


def test_the_window_starts_at_one_grows_and_falls_back(send: Send) -> None:
    for _ in range(30):
        send()
    publisher = FakePublisher()
    one = Relay(publisher=publisher)
    while one.step():
        pass
    assert len(publisher.sent) == 30
    assert 1 < one.window <= MAX_WINDOW
    send()
    publisher.decide = lambda keys: Outcome(unknown=keys)
    one.step()
    assert one.window == 1


def test_over_which_row_rabbitmq_closes_the_channel_is_found_one_by_one_however_many_follow(send: Send) -> None:
    def close_over_culprit(keys: list[int]) -> Outcome:
        if culprit.pk not in keys:
            return Outcome(confirmed=keys)
        if keys == [culprit.pk]:
            return Outcome(refused={culprit.pk: "too large"})
        return Outcome(unknown=keys, channel_error="too large")

    before, culprit, after = send(), send(), send()
    one = Relay(publisher=FakePublisher(decide=close_over_culprit))
    one.window = MAX_WINDOW
    for _ in range(3):
        one.step()
        send()
        assert one.window == 1
    one.step()
    states = dict(OutboxMessage.objects.values_list("pk", "state"))
    assert (states[before.pk], states[culprit.pk], states[after.pk]) == (State.PUBLISHED, State.DEAD, State.PUBLISHED)
    one.step()
    assert one.window > 1


def test_what_is_due_later_waits(send: Send) -> None:
    row = send(delay=3_600_000)
    publisher = FakePublisher()
    Relay(publisher=publisher).step()
    assert publisher.sent == []
    OutboxMessage.objects.filter(pk=row.pk).update(due_at=Now())
    Relay(publisher=publisher).step()
    assert len(publisher.sent) == 1


def test_rows_of_another_relay_are_left_alone_until_its_lease_ends(send: Send) -> None:
    send()
    store.claim(uuid4(), 10)
    publisher = FakePublisher()
    Relay(publisher=publisher).step()
    assert publisher.sent == []
    OutboxMessage.objects.update(lease_until=Now() - timedelta(seconds=1))
    Relay(publisher=publisher).step()
    assert len(publisher.sent) == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The relays' clock, in seconds, which a test sets; claims of all rows take two seconds by it."""
    times, claim = [1_000.0], store.claim

    def claim_slowly(token: UUID, limit: int, **bounds: float) -> store.Claim:
        times[0] += 2.0 * (bounds["max_overdue_seconds"] == store.CENTURY_SECONDS)
        return claim(token, limit, **bounds)

    monkeypatch.setattr(store, "claim", claim_slowly)
    monkeypatch.setattr(relay, "monotonic", lambda: times[0])
    yield times
    monkeypatch.undo()


def make_overdue(row: OutboxMessage, **how_long: float) -> None:
    """Have a row appear now that fell due long ago, as when its transaction or a lease has lasted."""
    OutboxMessage.objects.filter(pk=row.pk).update(due_at=Now() - timedelta(**how_long))


def test_the_first_claim_of_a_relay_finds_what_has_been_due_for_long(send: Send, clock: list[float]) -> None:
    make_overdue(send(), days=400)
    publisher = FakePublisher()
    Relay(publisher=publisher).step()
    assert len(publisher.sent) == 1


@pytest.mark.parametrize(("full_claims", "rest"), [(1, 1.0), (2, 2.0), (4, 8.0), (20, relay.MAX_REST_SECONDS)])
def test_what_appears_long_overdue_is_found_after_a_rest_that_doubles_up_to_a_limit(
    send: Send, clock: list[float], full_claims: int, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "REST_PER_FULL_CLAIM", 1_000)
    one = Relay(publisher=FakePublisher())
    for _ in range(full_claims):
        send()
        clock[0] += relay.MAX_REST_SECONDS
        one.step()
    row = send()
    make_overdue(row, minutes=10)
    clock[0] += rest - 0.5
    one.step()
    assert OutboxMessage.objects.get(pk=row.pk).state == State.PENDING
    clock[0] += 0.5
    one.step()
    assert OutboxMessage.objects.get(pk=row.pk).state == State.PUBLISHED


def test_claims_of_all_rows_rest_so_many_times_as_long_as_the_last_one_took(
    send: Send, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "REST_PER_FULL_CLAIM", 50)
    send()
    one = Relay(publisher=FakePublisher())
    one._rest = relay.MAX_REST_SECONDS
    one.step()
    assert one.next_full_claim == clock[0] + 100.0


def test_a_backlog_is_published_without_another_claim_of_all_rows(send: Send, clock: list[float]) -> None:
    for minutes in (10, 30, 20):
        make_overdue(send(), minutes=minutes)
    one = Relay(publisher=FakePublisher())
    while one.step():
        pass
    assert not relay.ready_rows().exists()
    assert clock == [1_002.0]


def test_a_claim_that_reached_the_database_late_hides_no_row_from_the_next(
    send: Send, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Relay(publisher=FakePublisher())
    one.step()
    one.next_full_claim = float("inf")
    row, claim = send(), store.claim

    def claim_late(token: UUID, limit: int, **bounds: float) -> store.Claim:
        clock[0] += 5.0  # as long as a connection to a dead host takes
        make_overdue(row, seconds=7)  # it fell due between the last claim and this one
        return claim(token, limit, **bounds)

    clock[0] += 3.0
    with monkeypatch.context() as late:
        late.setattr(store, "claim", claim_late)
        one.step()
    one.step()
    assert OutboxMessage.objects.get(pk=row.pk).state == State.PUBLISHED


@pytest.mark.parametrize("due_before", [0, 3])
def test_a_claim_sees_when_the_next_row_falls_due(send: Send, due_before: int) -> None:
    for delay in (*[0] * due_before, 120_000, 60_000, 86_400_000):
        send(delay=delay)
    claim = store.claim(uuid4(), 10, ahead_seconds=3_600.0)
    assert len(claim.rows) == due_before
    assert 59 < claim.due_in_seconds < 60.001  # SQLite reckons in days


def test_a_claim_does_not_look_beyond_its_bound_nor_at_rows_that_are_due_and_taken(send: Send) -> None:
    send()
    store.claim(uuid4(), 10)
    send(delay=60_000)
    assert store.claim(uuid4(), 10, ahead_seconds=1.0).due_in_seconds == math.inf


def test_rows_that_are_due_and_were_not_claimed_are_no_reason_to_look_again_at_once(send: Send) -> None:
    for _ in range(3):
        send()
    claim = store.claim(uuid4(), 1, ahead_seconds=1.0)
    assert (len(claim.rows), claim.due_in_seconds) == (1, math.inf)


def test_a_row_that_is_due_and_locked_is_no_reason_to_look_again_at_once(database: str, send: Send) -> None:
    if database == "sqlite":
        pytest.skip("SQLite locks no rows")
    row = send()
    with locked_until(threading.Event(), row):
        claim = store.claim(uuid4(), 10, ahead_seconds=1.0)
    assert (claim.rows, claim.due_in_seconds) == ([], math.inf)


@dataclass
class FakeStore:
    """Answers claims in turn, each of which takes a tenth of a second."""

    clock: list[float]
    answers: list[tuple[list[OutboxMessage], float]]

    def claim(self, _token: UUID, _limit: int, **_bounds: float) -> store.Claim:
        self.clock[0] += 0.1
        rows, due_in_seconds = self.answers.pop(0)
        return store.Claim(rows=rows, overdue_seconds=0.0, due_in_seconds=due_in_seconds)


Answer = Callable[..., None]


@pytest.fixture
def answer(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Give the answers of the next claims: the claimed rows, and in how many seconds the next falls due."""
    fake = FakeStore(clock, [])
    monkeypatch.setattr(store, "claim", fake.claim)
    return lambda *answers: fake.answers.extend(answers)


def test_a_relay_knows_when_the_next_row_falls_due_from_its_last_claim(
    send: Send, clock: list[float], answer: Answer
) -> None:
    one = Relay(publisher=FakePublisher())
    answer(([], 0.5), ([send()], 0.25), ([], math.inf))
    one.step()
    assert one.next_due == pytest.approx(1_000.6)
    clock[0] = 1_000.6
    one.step()
    assert one.next_due == pytest.approx(1_000.95)
    clock[0] = 1_000.8  # woken by a commit
    one.step()
    assert one.next_due == math.inf


@pytest.mark.parametrize(("times", "head_start"), [(0, 0.0), (1, 0.05), (2, 0.1), (3, 0.2), (40, 1.0)])
def test_a_relay_that_comes_in_vain_gives_the_others_a_head_start_that_grows_until_it_finds_a_row(
    send: Send, clock: list[float], answer: Answer, times: int, head_start: float
) -> None:
    one = Relay(publisher=FakePublisher())
    answer(*[([], 0.5)] * (times + 1), ([send()], 0.5))
    one.step()
    for _ in range(times):
        clock[0] = one.next_due
        one.step()
    assert one.next_due == pytest.approx(clock[0] + 0.5 + head_start)
    clock[0] = one.next_due
    one.step()
    assert one.next_due == pytest.approx(clock[0] + 0.5)


def test_a_head_start_ends_when_no_row_is_coming(clock: list[float], answer: Answer) -> None:
    one = Relay(publisher=FakePublisher())
    answer(([], 0.5), ([], 0.5), ([], math.inf), ([], 0.5))
    one.step()
    clock[0] = one.next_due
    for _ in range(3):
        one.step()
    assert one.next_due == pytest.approx(clock[0] + 0.5)


def test_a_commit_before_a_due_time_brings_no_head_start(clock: list[float], answer: Answer) -> None:
    one = Relay(publisher=FakePublisher())
    answer(([], 0.5), ([], 0.4))
    one.step()
    one.step()
    assert one.next_due == pytest.approx(clock[0] + 0.4)


def test_a_due_time_is_forgotten_while_nothing_can_be_published(clock: list[float], answer: Answer) -> None:
    publisher = FakePublisher()
    one = Relay(publisher=publisher)
    answer(([], 0.5))
    one.step()
    publisher.ready = False
    one.step()
    assert one.next_due == math.inf


def test_the_thread_wakes_when_the_next_row_falls_due(
    send: Send, clock: list[float], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = FakePublisher()
    monkeypatch.setattr(thread, "make_publisher", lambda: publisher)
    answer(([send()], 0.25), ([], 0.5))
    relay_thread = thread.RelayThread()
    relay_thread._sweep()
    assert publisher.woken_for == [pytest.approx(1_000.7)]


def test_a_claim_that_fails_wakes_the_thread_at_no_time(
    clock: list[float], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any, **_bounds: Any) -> store.Claim:
        raise OperationalError("away")

    publisher = FakePublisher()
    monkeypatch.setattr(thread, "make_publisher", lambda: publisher)
    relay_thread = thread.RelayThread()
    answer(([], 0.5))
    relay_thread._sweep()
    monkeypatch.setattr(store, "claim", fail)
    relay_thread._sweep()
    assert (len(publisher.woken_for), relay_thread.relay.next_due) == (1, math.inf)


def test_thousands_of_scheduled_rows_and_cancelled_ones_under_a_held_snapshot_cost_a_claim_nothing(
    send: Send, held_snapshot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LATE_COMMIT_SECONDS", 0.0)
    one = Relay(publisher=FakePublisher())
    one.step()
    for _ in range(100):
        send(delay=60_000)
    OutboxMessage.objects.all().delete()
    for _ in range(100):
        send(delay=60_000)
    one.next_full_claim = math.inf
    assert entries_read("outbox_awaiting", one.step) == 0
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE outbox_outboxmessage")
    assert entries_read("outbox_awaiting", one.step) == 0
    assert entries_read("outbox_outboxmessage_pkey", one.step) == 0


def test_claims_between_those_of_all_rows_read_no_index_entry_that_a_held_snapshot_keeps(
    send: Send, clock: list[float], held_snapshot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LATE_COMMIT_SECONDS", 0.0)
    for _ in range(100):
        send()
    one = Relay(publisher=FakePublisher())
    while one.step():
        pass
    one.step()
    assert entries_read("outbox_awaiting", one.step) == 0
    one.next_full_claim = 0.0
    assert entries_read("outbox_awaiting", one.step) >= 100


@pytest.mark.parametrize("index", ["outbox_outboxmessage_pkey", "outbox_awaiting"])
def test_no_step_reads_the_dead_rows_of_a_table_that_was_analyzed_when_it_had_no_others(
    send: Send, held_snapshot: int, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LATE_COMMIT_SECONDS", 0.0)
    one = Relay(publisher=FakePublisher())
    for _ in range(100):
        send()
    OutboxMessage.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE outbox_outboxmessage")
    one.step()
    one.next_full_claim = math.inf
    assert entries_read(index, one.step) == 0
    send()
    assert entries_read(index, one.step) < 10
    assert OutboxMessage.objects.get().state == State.PUBLISHED


def test_marking_published_does_not_touch_a_row_that_a_fast_worker_has_rescheduled(send: Send) -> None:
    row = send()
    token = uuid4()
    store.claim(token, 10)
    OutboxMessage.objects.update(state=State.SCHEDULED, attempt=1, lease_token=None)
    store.mark_published(token, [row.pk])
    row.refresh_from_db()
    assert (row.state, row.published_at) == (State.SCHEDULED, None)


def test_marking_published_under_another_lease_does_nothing(send: Send) -> None:
    row = send()
    store.claim(uuid4(), 10)
    store.mark_published(uuid4(), [row.pk])
    row.refresh_from_db()
    assert row.state == State.PENDING


def test_a_scheduled_row_that_is_due_is_published_as_its_attempt(send: Send) -> None:
    row = send()
    OutboxMessage.objects.update(state=State.SCHEDULED, attempt=3)
    publisher = FakePublisher()
    Relay(publisher=publisher).step()
    options = dramatiq.Message.decode(publisher.sent[0].body).options
    assert AttemptRef.of(options) == AttemptRef(row_id=row.pk, attempt=3)


@pytest.mark.integration
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_relay_leaves_a_server_that_accepts_no_writes_any_more(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    send()
    publisher = FakePublisher()
    monkeypatch.setattr(thread, "make_publisher", lambda: publisher)
    relay_thread = thread.RelayThread()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only TO on")  # on this connection, as on all of a standby
    relay_thread._sweep()
    assert OutboxMessage.objects.get().state == State.PENDING
    relay_thread._sweep()
    assert OutboxMessage.objects.get().state == State.PUBLISHED


@pytest.mark.parametrize(("messages", "seconds"), [(0, 0.0), (1, 0.006), (3, 0.018), (1000, 0.03)])
def test_a_relay_rests_longer_after_more_messages_up_to_a_limit(messages: int, seconds: float) -> None:
    assert rest_after(messages) == pytest.approx(seconds)


def test_a_claim_and_a_mark_commit_without_waiting_and_leave_the_session_as_it_was(database: str, send: Send) -> None:
    if database == "sqlite":
        pytest.skip("SQLite has no such setting")

    def waits() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchone()[0])

    row, token, seen = send(), uuid4(), []
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO on")
    for step in (lambda: store.claim(token, 10), lambda: store.mark_published(token, [row.pk])):
        with transaction.atomic():
            step()
            seen.append(waits())
        seen.append(waits())
    connection.close()
    assert seen == ["off", "on", "off", "on"]
