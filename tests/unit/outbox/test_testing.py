"""The stub broker runs messages: in a test case's own thread, where there is no worker, and in a worker's threads."""

import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.core.signals import request_started
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import TestCase
from django_dramatiq.test import DramatiqTestCase
from dramatiq import Message, Worker, pipeline
from dramatiq.common import dq_name
from dramatiq.errors import ActorNotFound, QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import SkipMessage
from pytest_django import DjangoDbBlocker, Settings

from actors.outbox.background import background_threads
from actors.outbox.broker import OutboxStubBroker
from actors.outbox.exceptions import ConnectionOfTestCaseClosed, OutboxError
from actors.outbox.models import OutboxMessage, State
from actors.outbox.testing import InlineWorker
from project.local.servers.process import wait_until
from tests.unit.outbox.inline_worker import QUEUE
from tests.unit.outbox.race_steps import add_effect, effects, only_row

Declare = Callable[..., dramatiq.Actor[Any, Any]]

DAY_MS = 86_400_000
IN_TEST_CASE = pytest.mark.django_db
COMMITTING = pytest.mark.django_db(transaction=True)
# Whether a worker is started, and what isolates the test.
WAYS = [
    pytest.param(False, marks=IN_TEST_CASE, id="test_case"),
    pytest.param(True, marks=IN_TEST_CASE, id="test_case_with_worker"),
    pytest.param(False, marks=COMMITTING, id="committing"),
    pytest.param(True, marks=COMMITTING, id="committing_with_worker"),
]


@pytest.fixture(params=WAYS)
def broker(request: pytest.FixtureRequest, database: str, db: None, actor: Declare) -> Iterator[OutboxStubBroker]:
    """Dramatiq's usual fixtures: the broker, emptied, and where the way has one a started worker."""
    broker = stub_broker()
    broker.declare_queue(QUEUE)
    broker.flush_all()
    if request.param:
        worker = Worker(broker, worker_timeout=100)
        worker.start()
        yield broker
        broker.join(QUEUE, fail_fast=False)
        worker.join()
        worker.stop()
    else:
        yield broker


def stub_broker() -> OutboxStubBroker:
    broker = dramatiq.get_broker()
    assert isinstance(broker, OutboxStubBroker)
    return broker


def fail() -> None:
    add_effect()
    raise ValueError("wrong")


def test_a_message_runs_in_the_worker_s_threads_where_they_can_see_it_and_here_elsewhere(
    broker: OutboxStubBroker, actor: Declare, request: pytest.FixtureRequest
) -> None:
    threads: list[threading.Thread] = []

    def work(name: str) -> None:
        threads.append(threading.current_thread())
        add_effect(name)

    for name in "abc":
        actor(work).send(name)
    broker.join(QUEUE)
    assert (effects(), OutboxMessage.objects.count()) == (["a", "b", "c"], 0)
    is_ours = {thread is threading.current_thread() for thread in threads}
    assert is_ours == {"committing_with_worker" not in request.node.callspec.id}


def test_what_a_message_sends_is_joined_too(broker: OutboxStubBroker, actor: Declare) -> None:
    def work(left: int) -> None:
        add_effect(str(left))
        if left:
            one.send(left - 1)

    one = actor(work)
    one.send(2)
    broker.join(QUEUE)
    assert effects() == ["0", "1", "2"]


@pytest.mark.parametrize("options", [{}, {"outside_effects": True}])
def test_retries_are_joined_without_their_pauses(
    broker: OutboxStubBroker, actor: Declare, options: dict[str, Any]
) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) < 4:
            raise ValueError("not yet")
        add_effect()

    actor(work, min_backoff=DAY_MS, max_backoff=DAY_MS, **options).send()
    broker.join(QUEUE)
    assert (effects(), len(calls), OutboxMessage.objects.count()) == (["effect"], 4, 0)


def test_delayed_messages_run_in_the_order_in_which_they_fall_due(broker: OutboxStubBroker, actor: Declare) -> None:
    order: list[str] = []
    one = actor(order.append)
    one.send_with_options(args=("in two days",), delay=2 * DAY_MS)
    one.send_with_options(args=("tomorrow",), delay=DAY_MS)
    one.send("now")
    broker.join(QUEUE)
    assert order == ["now", "tomorrow", "in two days"]


def test_what_another_execution_has_leased_waits_for_no_lease_to_end(broker: OutboxStubBroker, actor: Declare) -> None:
    with transaction.atomic():
        actor(add_effect, outside_effects=True).send()
        OutboxMessage.objects.update(held_until=Now() + timedelta(hours=1), held_by=uuid4())
    broker.join(QUEUE, timeout=60_000)
    assert effects() == ["effect"]


@pytest.mark.parametrize(
    "options", [{"max_retries": 1}, {"throws": ValueError}, {"max_retries": 0, "outside_effects": True}]
)
def test_what_runs_out_of_retries_is_a_dead_letter_whose_own_error_is_raised(
    broker: OutboxStubBroker, actor: Declare, options: dict[str, Any]
) -> None:
    raised = ValueError("wrong")

    def work() -> None:
        raise raised

    actor(work, **options).send()
    with pytest.raises(ValueError, match="wrong") as caught:
        broker.join(QUEUE)
    assert caught.value is raised
    broker.join(QUEUE, fail_fast=False)
    reason = "throws" if "throws" in options else "retries exhausted"
    assert (only_row().state, only_row().reason) == (State.DEAD, reason)
    [letter] = broker.dead_letters
    assert (letter.message_id, letter.failed) == (only_row().message_id, True)
    assert broker.dead_letters_by_queue[QUEUE] == [letter]
    broker.flush_all()
    assert broker.dead_letters == []
    broker.join(QUEUE)


def test_whether_join_fails_fast_is_the_broker_s_own_choice(
    broker: OutboxStubBroker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "fail_fast_default", False)
    actor(fail, max_retries=0).send()
    broker.join(QUEUE)
    assert (effects(), only_row().state) == ([], State.DEAD)


def test_what_is_too_old_ends_as_over_rabbitmq(broker: OutboxStubBroker, actor: Declare) -> None:
    message = actor(add_effect).message_with_options(max_age=1)
    broker.enqueue(message.copy(message_timestamp=1))
    with pytest.raises(SkipMessage, match="age limit"):
        broker.join(QUEUE)
    assert (effects(), only_row().state, only_row().reason) == ([], State.DEAD, "too old")


def test_a_message_of_an_unknown_actor_ends_as_over_rabbitmq(broker: OutboxStubBroker) -> None:
    broker.enqueue(Message(queue_name=QUEUE, actor_name="unknown", args=(), kwargs={}, options={}))
    with pytest.raises(ActorNotFound):
        broker.join(QUEUE)
    assert (only_row().state, only_row().reason) == (State.DEAD, "unknown actor")


@pytest.mark.parametrize("body", [b"nonsense", b'{"actor_name": 1}'])
def test_an_undecodable_message_ends_as_over_rabbitmq(broker: OutboxStubBroker, actor: Declare, body: bytes) -> None:
    sent = actor(add_effect).message("edited")
    with transaction.atomic():
        broker.enqueue(sent)
        OutboxMessage.objects.update(body=body)
    with pytest.raises(OutboxError, match="undecodable"):
        broker.join(QUEUE)
    assert (only_row().state, only_row().reason) == (State.DEAD, "undecodable")
    assert [letter.message_id for letter in broker.dead_letters] == [sent.message_id]


def test_pipelines_and_callbacks_are_follow_ups(broker: OutboxStubBroker, actor: Declare) -> None:
    noted: list[Any] = []
    actor(lambda message, result: noted.append(("success", result)), actor_name="succeeded")
    actor(lambda message, error: noted.append(("failure", error["type"])), actor_name="failed")
    actor(lambda message, retries: noted.append(("exhausted", retries["retries"])), actor_name="exhausted")
    double = actor(lambda number: 2 * number, on_success="succeeded")
    pipeline([double.message(1), double.message()]).run()
    actor(fail, max_retries=0, on_failure="failed", on_retry_exhausted="exhausted").send()
    broker.join(QUEUE, fail_fast=False)
    assert sorted(noted) == [("exhausted", 0), ("failure", "ValueError"), ("success", 2), ("success", 4)]


def test_rows_that_actors_return_are_inserted(broker: OutboxStubBroker, actor: Declare) -> None:
    one = actor(lambda name: Group(name=name), returns_rows=True)
    for name in "abc":
        one.send(name)
    broker.join(QUEUE)
    assert (effects(), OutboxMessage.objects.count()) == (["a", "b", "c"], 0)


def test_a_key_is_free_again_when_its_message_begins(broker: OutboxStubBroker, actor: Declare) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            one.send_with_options(dedupe_key="once")

    one = actor(work)
    with transaction.atomic():
        for _ in range(3):
            one.send_with_options(dedupe_key="once")
    broker.join(QUEUE)
    assert len(calls) == 2


def test_only_the_queue_that_is_named_is_joined(broker: OutboxStubBroker, actor: Declare) -> None:
    actor(fail, max_retries=0).send()
    broker.join("activity")
    with pytest.raises(ValueError, match="wrong"):
        broker.join(QUEUE)


def test_a_join_ends_at_its_timeout(broker: OutboxStubBroker, actor: Declare) -> None:
    ends = threading.Event()

    def work() -> None:
        if not ends.is_set():
            one.send_with_options(delay=DAY_MS)

    one = actor(work)
    one.send()
    with pytest.raises(QueueJoinTimeout, match=QUEUE):
        broker.join(QUEUE, timeout=300)
    ends.set()
    broker.join(QUEUE, timeout=None)
    assert not OutboxMessage.objects.exists()


def test_a_queue_that_was_never_declared_is_not_found(broker: OutboxStubBroker) -> None:
    for ask in (broker.join, broker.flush, broker.consume):
        with pytest.raises(QueueNotFound):
            ask("nowhere")


def test_what_an_open_transaction_has_sent_cannot_be_joined(broker: OutboxStubBroker, actor: Declare) -> None:
    with transaction.atomic():
        actor(add_effect).send()
        with pytest.raises(OutboxError, match=r"leave transaction\.atomic"):
            broker.join(QUEUE)
    broker.join(QUEUE)
    assert effects() == ["effect"]


@IN_TEST_CASE
def test_a_connection_that_a_test_case_needs_stays_open(database: str, actor: Declare) -> None:
    """Whatever closes connections: a middleware around each message, the actor, the stop of a worker."""
    Group.objects.create(name="before")
    ours = connection.connection

    def work() -> None:
        add_effect()
        connection.close()

    actor(work).send()
    actor(fail, max_retries=1).send()
    stub_broker().join(QUEUE, fail_fast=False)
    worker = Worker(stub_broker(), worker_timeout=1)
    worker.start()
    worker.stop()
    assert connection.connection is ours
    assert effects() == ["before", "effect"]


@pytest.fixture
def committing(transactional_db: None, database: str, actor: Declare) -> OutboxStubBroker:
    """The broker, in a test that commits and starts no worker itself."""
    stub_broker().declare_queue(QUEUE)
    return stub_broker()


def test_queues_count_rows(committing: OutboxStubBroker, actor: Declare) -> None:
    one = actor(add_effect)
    one.send("a")
    one.send("b")
    one.send_with_options(args=("later",), delay=DAY_MS)
    queue, delayed = committing.queues[QUEUE], committing.queues[dq_name(QUEUE)]
    assert (queue.qsize(), queue.unfinished_tasks, queue.empty(), delayed.qsize()) == (2, 2, False, 1)
    assert [Message.decode(body).args for body in queue.queue] == [("a",), ("b",)]
    OutboxMessage.objects.filter(pk=OutboxMessage.objects.earliest("pk").pk).update(state=State.PUBLISHED)
    assert (queue.qsize(), queue.unfinished_tasks) == (1, 2)
    committing.flush(QUEUE)
    assert (queue.empty(), queue.unfinished_tasks, delayed.qsize()) == (True, 0, 1)
    committing.flush(dq_name(QUEUE))
    assert not OutboxMessage.objects.exists()


def test_flushing_all_leaves_no_message_and_no_dead_letter(
    committing: OutboxStubBroker, die: Callable[..., OutboxMessage]
) -> None:
    die()
    die(queue="bulk", state=State.SCHEDULED)
    committing.flush_all()
    assert not OutboxMessage.objects.exists()


def test_a_dead_letter_from_before_is_raised_with_what_its_row_says(
    committing: OutboxStubBroker, die: Callable[..., OutboxMessage]
) -> None:
    die()
    with pytest.raises(OutboxError, match="known has failed, throws: ValueError: x"):
        committing.join(QUEUE)


def test_a_worker_that_stops_gives_back_what_it_has_not_begun(committing: OutboxStubBroker, actor: Declare) -> None:
    begun, end = threading.Event(), threading.Event()

    def work(name: str) -> None:
        begun.set()
        end.wait()
        add_effect(name)

    one = actor(work)
    for name in "ab":
        one.send(name)
    worker = Worker(committing, worker_timeout=1, worker_threads=1)
    worker.start()
    joining = threading.Thread(target=join_quietly, args=(committing,))
    joining.start()
    begun.wait()
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    assert wait_until(lambda: not worker.workers[0].running, timeout_seconds=30)
    end.set()
    stopping.join()
    joining.join()
    committing.join(QUEUE)
    assert effects() == ["a", "b"]


def join_quietly(broker: OutboxStubBroker) -> None:
    """Join in another thread for as long as its worker works."""
    with suppress(QueueJoinTimeout):
        broker.join(QUEUE, timeout=1_000)
    connection.close()


def test_a_worker_that_looks_for_messages_makes_no_send_fail(committing: OutboxStubBroker, actor: Declare) -> None:
    """On SQLite in memory it could, at once: of two threads only one may write, and none waits."""
    names, one = [f"{number:02}" for number in range(100)], actor(add_effect)
    worker = Worker(committing, worker_timeout=100)
    worker.start()
    try:
        for name in names:
            one.send(name)
        committing.join(QUEUE)
    finally:
        worker.stop()
    assert effects() == names


def test_a_worker_s_threads_need_no_join_where_they_can_work_beside_the_test(
    committing: OutboxStubBroker, actor: Declare
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one thread at a time works on a database in memory")
    ran = threading.Event()
    worker = Worker(committing, worker_timeout=100)
    worker.start()
    try:
        actor(ran.set).send()
        assert ran.wait(30)
    finally:
        worker.stop()


def test_each_worker_of_a_process_starts_afresh(committing: OutboxStubBroker, actor: Declare) -> None:
    """An actor that heeds shutdowns is not interrupted by that of the worker before."""
    one, middleware = actor(add_effect, notify_shutdown=True), list(committing.middleware)
    for name in "abc":
        if name != "c":  # the last one runs here
            worker = Worker(committing, worker_timeout=1)
            worker.start()
        one.send(name)
        committing.join(QUEUE)
        worker.stop()  # the second time nothing is left to stop
        assert committing.middleware == middleware
    assert effects() == ["a", "b", "c"]


def test_no_relay_is_started_without_a_rabbitmq(committing: OutboxStubBroker, settings: Settings) -> None:
    settings.OUTBOX_RELAY_THREAD = True
    before = set(threading.enumerate())
    request_started.send(sender=None)
    background_threads.boot()
    assert set(threading.enumerate()) == before


@IN_TEST_CASE
def test_a_lost_connection_of_a_test_case_is_an_error_and_no_endless_wait(database: str, actor: Declare) -> None:
    if database != "postgresql":
        pytest.skip("a connection to a database in memory cannot be lost")
    lose = connection.connection.close
    actor(lose).send()
    with pytest.raises(ConnectionOfTestCaseClosed, match="TransactionTestCase"):
        stub_broker().join(QUEUE)


@IN_TEST_CASE
def test_an_interruption_from_the_keyboard_is_no_actor_s_failure(database: str, actor: Declare) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    actor(work).send()
    with pytest.raises(KeyboardInterrupt):
        stub_broker().join(QUEUE)


@IN_TEST_CASE
def test_a_transaction_that_an_actor_leaves_open_inside_a_test_case_is_rolled_back_alone(
    database: str, actor: Declare
) -> None:
    def work() -> None:
        transaction.atomic().__enter__()
        add_effect("lost")

    add_effect("before")
    actor(work, outside_effects=True, max_retries=0).send()
    stub_broker().join(QUEUE)
    assert (effects(), OutboxMessage.objects.count()) == (["before"], 0)


@IN_TEST_CASE
def test_a_message_without_an_outcome_is_an_error_and_no_endless_loop(database: str, actor: Declare) -> None:
    actor(add_effect).send()
    OutboxMessage.objects.update(queue="activity")  # so each copy differs from it
    with pytest.raises(OutboxError, match="without an outcome"):
        InlineWorker().deliver_all()


def send(name: str, *args: Any, **options: Any) -> None:
    """Send to an actor that is declared for each test that runs one of these cases."""
    dramatiq.get_broker().get_actor(name).send_with_options(args=args, **options)


class Signup(TestCase):
    """Django's own TestCase, with class-wide data, and a worker beside it."""

    __test__ = False  # not by pytest, whose cases of unittest have no parameters

    group: ClassVar[Group]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.group = Group.objects.create(name="class")

    def setUp(self) -> None:
        self.worker = Worker(stub_broker(), worker_timeout=1)
        self.worker.start()
        self.addCleanup(self.worker.stop)

    def test_one(self) -> None:
        send("greet", "one")
        stub_broker().join(QUEUE)
        assert effects() == ["class", "one"]

    def test_two(self) -> None:
        send("greet", "two")
        stub_broker().join(QUEUE)
        assert effects() == ["class", "two"]


class Dramatiq(DramatiqTestCase):
    """django_dramatiq's own, which starts a worker for each test."""

    __test__ = False

    def test_one(self) -> None:
        send("greet", "one")
        self.broker.join(QUEUE)
        self.worker.join()
        assert effects() == ["one"]

    def test_two(self) -> None:
        send("greet", "two", delay=DAY_MS)
        send("fail")
        with pytest.raises(ValueError, match="wrong"):
            self.broker.join(QUEUE)
        self.worker.join()
        assert effects() == ["two"]
        assert len(self.broker.dead_letters) == 1


@pytest.mark.parametrize("case", [Signup, Dramatiq])
def test_test_cases_of_django_pass(
    database: str, django_db_blocker: DjangoDbBlocker, actor: Declare, case: type[unittest.TestCase]
) -> None:
    actor(add_effect, actor_name="greet")
    actor(fail, actor_name="fail", throws=ValueError)
    result = unittest.TestResult()
    with django_db_blocker.unblock():
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])
