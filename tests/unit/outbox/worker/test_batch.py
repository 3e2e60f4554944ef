"""Messages of one batch are settled in one transaction, each as if it were alone."""

import cProfile
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from queue import PriorityQueue
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from dramatiq import Broker, Message, MessageProxy, Middleware
from dramatiq.middleware import CurrentMessage, SkipMessage
from dramatiq.worker import WorkerThread, _WorkQueueItem

from actors.outbox import envelope
from actors.outbox.context import Context, current_context, current_trail, sent_by
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker import batch, delivery, execution, failures, group_commit, poison
from actors.outbox.worker.batch import BatchingWorkerThread
from actors.outbox.worker.group_commit import Completion, settle_together
from actors.outbox.worker.log_buffer import log_when_settled
from actors.outbox.worker.state import QUICK_SECONDS, WorkerState
from project.local.servers.process import wait_until
from project.logs import LineHandler
from tests.uncollected import uncollected
from tests.unit.outbox.inline_worker import InlineWorker, outbox_middleware_of
from tests.unit.outbox.race_steps import effects, in_another_thread, locked_until, only_row, raise_database_away
from tests.unit.outbox.worker.test_interrupts import end_all_deadlines, shut_all_down

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@dataclass
class Pool:
    """A worker thread, run by the test's own, with a consumer that remembers how messages ended."""

    consumer: InlineWorker

    thread: BatchingWorkerThread

    groups: list[int]
    """How many messages each transaction settled."""

    def take(self, row: OutboxMessage, **changes: Any) -> None:
        """Put a copy of a row's message into the work queue."""
        proxy = MessageProxy(Message.decode(envelope.to_amqp(row).body))
        for name, value in changes.items():
            setattr(proxy, name, value)
        self.thread.work_queue.put(_WorkQueueItem(0, proxy))

    def take_all(self) -> None:
        for row in OutboxMessage.objects.order_by("pk"):
            self.take(row)

    def work_once(self) -> None:
        """Let the thread process the first message that waits, and those that it batches with it."""
        self.thread.process_message(self.thread.work_queue.get().message)

    def work(self) -> None:
        while not self.thread.work_queue.empty():
            self.work_once()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    broker = dramatiq.get_broker()
    state, consumer, groups = outbox_middleware_of(broker).engine.state, InlineWorker(), list[int]()
    monkeypatch.setattr(state, "last_run_seconds", {})
    thread = BatchingWorkerThread(
        state=state,
        broker=broker,
        consumers=consumer.worker.consumers,
        work_queue=PriorityQueue[_WorkQueueItem](),
        worker_timeout=1,
    )
    thread.clock = lambda: 0.0  # a machine that is busy ends no batch

    def counted(completions: list[Completion]) -> None:
        settle_together(completions)
        groups.append(len(completions))

    monkeypatch.setattr(group_commit, "settle_together", counted)
    yield Pool(consumer=consumer, thread=thread, groups=groups)
    state.stopping.clear()
    # Each message that was taken off the queue is done.
    assert thread.work_queue.unfinished_tasks == thread.work_queue.qsize()


@pytest.fixture
def quick(actor: Declare, pool: Pool) -> Declare:
    """Declare an actor that returns rows and is known to be quick."""

    def declare(work: Callable[..., Any], **options: Any) -> dramatiq.Actor[Any, Any]:
        declared = actor(work, returns_rows=True, **options)
        outbox_middleware_of(dramatiq.get_broker()).engine.state.last_run_seconds[declared.actor_name] = 0.0
        return declared

    return declare


def named(name: str) -> Group:
    return Group(name=name)


def send_all(actor: dramatiq.Actor[Any, Any], *names: str) -> None:
    for name in names:
        actor.send(name)


def test_messages_that_wait_are_settled_together(pool: Pool, quick: Declare) -> None:
    send_all(quick(named), "a", "b", "c")
    pool.take_all()
    pool.work_once()
    assert (effects(), pool.consumer.ends, pool.groups) == (["a", "b", "c"], ["ack"] * 3, [3])
    assert not OutboxMessage.objects.exists()


def test_a_forged_message_in_a_batch_runs_nothing_and_the_others_are_settled_together(
    pool: Pool, quick: Declare
) -> None:
    send_all(quick(named), "a", "b", "c")
    rows = list(OutboxMessage.objects.order_by("pk"))
    forged = MessageProxy(Message.decode(envelope.to_amqp(rows[1]).body).copy(args=("forged",)))
    pool.take(rows[0])
    pool.thread.work_queue.put(_WorkQueueItem(0, forged))
    pool.take(rows[2])
    pool.work_once()
    assert (effects(), pool.consumer.ends, pool.groups) == (["a", "c"], ["ack"] * 3, [2])
    assert only_row().pk == rows[1].pk
    pool.take_all()
    pool.work_once()
    assert effects() == ["a", "b", "c"]


def test_nothing_of_a_batch_is_left_to_the_garbage_collector(pool: Pool, quick: Declare) -> None:
    send_all(quick(named), "a", "b", "c")
    pool.take_all()
    with uncollected(execution.Execution) as found:
        pool.work_once()
    assert (effects(), found) == (["a", "b", "c"], [])


def test_an_actor_that_has_not_shown_how_long_it_takes_runs_alone_first(pool: Pool, actor: Declare) -> None:
    send_all(actor(named, returns_rows=True), "a", "b", "c")
    pool.take_all()
    pool.work()
    assert (effects(), pool.groups) == (["a", "b", "c"], [1, 2])


def test_an_actor_that_took_long_is_no_longer_quick() -> None:
    state = WorkerState(last_run_seconds={"one": QUICK_SECONDS / 2})
    assert state.is_quick("one")
    state.last_run_seconds["one"] = QUICK_SECONDS
    assert not state.is_quick("one")


def test_their_follow_ups_have_the_origins_of_their_own_messages(pool: Pool, quick: Declare, actor: Declare) -> None:
    actor(lambda message, result: None, actor_name="callback")
    one = quick(named, on_success="callback")
    for name in ("alice", "bob"):
        with sent_by(Context(changed_by=name)):
            one.send(name)
    pool.take_all()
    pool.work()
    senders = OutboxMessage.objects.filter(actor="callback").values_list("changed_by", flat=True)
    assert (sorted(senders), pool.groups) == (["alice", "bob"], [2])


def test_a_batch_has_a_greatest_size(pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_BATCH", 2)
    send_all(quick(named), "a", "b", "c")
    pool.take_all()
    pool.work()
    assert pool.groups == [2, 1]


def test_each_has_its_own_origin_trail_and_message(pool: Pool, quick: Declare) -> None:
    seen: dict[str, tuple[str, datetime, Any]] = {}

    def look(name: str) -> None:
        trail, message = current_trail(), CurrentMessage.get_current_message()
        assert trail is not None
        assert message is not None
        seen[name] = current_context().request_id, trail.sent_at, message.message_id

    one = quick(look)
    for name in "abc":
        with sent_by(Context(request_id=f"request {name}")):
            one.send(name)
    rows = list(OutboxMessage.objects.order_by("pk"))
    pool.take_all()
    pool.work_once()
    assert pool.groups == [3]
    assert seen == {
        name: (f"request {name}", row.created_at, row.message_id) for name, row in zip("abc", rows, strict=True)
    }


def test_a_follow_up_has_the_origin_of_its_own_message(pool: Pool, quick: Declare, actor: Declare) -> None:
    done, following = quick(lambda: None), actor(lambda *_: None)
    for name in "ab":
        with sent_by(Context(request_id=name)):
            done.send_with_options(on_success=following.actor_name)
    pool.take_all()
    pool.work_once()
    assert pool.groups == [2]
    assert list(OutboxMessage.objects.order_by("pk").values_list("request_id", flat=True)) == ["a", "b"]


def test_what_they_log_about_success_is_logged_once_for_those_that_are_settled(
    pool: Pool, quick: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    def make(name: str) -> Group:
        log_when_settled(logging.getLogger("success"), "made %s", name)
        return named(name)

    caplog.set_level(logging.INFO, "success")
    Group.objects.create(name="taken")
    send_all(quick(make), "a", "taken", "b")
    pool.take_all()
    pool.take(OutboxMessage.objects.earliest("pk"))
    pool.work()
    assert pool.groups[:2] == [1, 1]
    assert sorted(one.getMessage() for one in caplog.records if one.name == "success") == ["made a", "made b"]


def test_one_whose_rows_do_not_fit_fails_alone(pool: Pool, quick: Declare) -> None:
    Group.objects.create(name="taken")
    send_all(quick(named), "a", "taken", "b")
    pool.take_all()
    pool.work_once()
    assert effects() == ["a", "b", "taken"]
    assert (only_row().state, only_row().attempt) == (State.SCHEDULED, 1)
    assert only_row().error.startswith("IntegrityError")
    assert pool.consumer.ends == ["ack"] * 3


def test_one_that_raises_fails_alone(pool: Pool, quick: Declare) -> None:
    def fail_or_return(name: str) -> Group:
        if name == "wrong":
            raise ValueError(name)
        return named(name)

    send_all(quick(fail_or_return), "a", "wrong", "b")
    pool.take_all()
    pool.work()
    assert effects() == ["a", "b"]
    assert (only_row().state, only_row().error) == (State.SCHEDULED, "ValueError: wrong")
    assert [type(error) for error in pool.consumer.errors] == [ValueError]


class Terminal(StringIO):
    """The terminal that log lines go to; `seen` has its text at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.handler = LineHandler("", self)
        self.seen: list[str] = []

    def log(self, name: str) -> Group:
        self.handler.handle(logging.makeLogRecord({"msg": name, "levelno": logging.INFO}))
        return named(name)

    def look(self) -> None:
        self.seen.append(self.getvalue())


@pytest.fixture
def terminal(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that is looked at before each transaction that settles."""
    terminal = Terminal()

    def settle(completions: Sequence[Completion]) -> None:
        terminal.look()
        settle_together(completions)

    monkeypatch.setattr(logging.getLogger(), "handlers", [terminal.handler])
    monkeypatch.setattr(group_commit, "settle_together", settle)
    return terminal


def test_what_they_log_is_written_before_any_of_them_is_settled(pool: Pool, quick: Declare, terminal: Terminal) -> None:
    def log(name: str) -> Group:
        row = terminal.log(name)
        terminal.look()
        return row

    send_all(quick(log), "a", "b", "c")
    pool.take_all()
    pool.work_once()
    assert (terminal.seen, effects()) == (["", "", "", "a\nb\nc\n"], ["a", "b", "c"])


def test_what_one_logs_that_is_settled_under_its_lease_is_written_before(
    pool: Pool, quick: Declare, terminal: Terminal
) -> None:
    send_all(quick(terminal.log), "a", "begun")
    OutboxMessage.objects.filter(pk=OutboxMessage.objects.latest("pk").pk).update(starts=1)
    pool.take_all()
    pool.work_once()
    assert (terminal.seen, effects()) == (["a\n", "a\nbegun\n"], ["a", "begun"])


def test_what_ran_before_a_failure_is_settled_before_the_failure_is_written(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def look(*arguments: Any) -> None:
        seen.append([*effects(), f"{pool.thread.work_queue.qsize()} wait"])
        failures.write_failure(*arguments)

    def fail_or_return(name: str) -> Group:
        return named(name) if name != "wrong" else named(str(1 / 0))

    monkeypatch.setattr(execution, "write_failure", look)
    send_all(quick(fail_or_return), "a", "wrong", "b", "c")
    pool.take_all()
    pool.work()
    # Neither waits for a lock on the failed message's row.
    assert seen == [["a", "2 wait"]]
    assert effects() == ["a", "b", "c"]


def test_what_was_settled_before_is_not_run(pool: Pool, quick: Declare) -> None:
    runs: list[str] = []

    def run(name: str) -> Group:
        runs.append(name)
        return named(name)

    send_all(quick(run), "a", "gone", "b")
    pool.take_all()
    OutboxMessage.objects.filter(pk=OutboxMessage.objects.order_by("pk")[1].pk).delete()
    pool.work()
    assert (runs, effects(), pool.consumer.ends) == (["a", "b"], ["a", "b"], ["ack"] * 3)


def test_an_older_attempt_and_another_message_with_the_same_row_id_are_not_run(pool: Pool, quick: Declare) -> None:
    send_all(quick(named), "a", "older", "stranger")
    first, older, stranger = OutboxMessage.objects.order_by("pk")
    pool.take_all()
    OutboxMessage.objects.filter(pk=older.pk).update(attempt=1)
    OutboxMessage.objects.filter(pk=stranger.pk).update(message_id="another")
    pool.work()
    assert effects() == ["a"]
    assert OutboxMessage.objects.count() == 2
    assert not OutboxMessage.objects.filter(pk=first.pk).exists()


def test_two_copies_in_one_batch_write_once(pool: Pool, quick: Declare) -> None:
    quick(named).send("once")
    for _ in range(3):
        pool.take(only_row())
    pool.work()
    assert (effects(), pool.consumer.ends) == (["once"], ["ack"] * 3)


def test_one_that_may_have_killed_its_worker_is_not_run_beside_others(pool: Pool, quick: Declare) -> None:
    send_all(quick(named), "a", "again", "b", "c")
    for row in OutboxMessage.objects.order_by("pk"):
        pool.take(row, redelivered=b"again" in bytes(row.body))
    pool.work()
    assert effects() == ["a", "again", "b", "c"]
    assert pool.groups == [1, 1, 2]


def test_one_that_was_begun_before_is_counted_after_the_others_are_settled(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def look(*arguments: Any, **options: Any) -> str:
        seen.append(effects())
        return poison.begin(*arguments, **options)

    monkeypatch.setattr(execution, "begin", look)
    send_all(quick(named), "a", "begun", "b")
    OutboxMessage.objects.filter(pk=OutboxMessage.objects.order_by("pk")[1].pk).update(starts=1)
    pool.take_all()
    pool.work()
    assert seen == [["a"]]
    assert effects() == ["a", "b", "begun"]


@pytest.mark.parametrize("options", [{"dedupe_key": "key"}, {}])
def test_one_with_a_key_is_begun_by_itself(pool: Pool, quick: Declare, options: dict[str, Any]) -> None:
    one = quick(named)
    one.send("a")
    one.send_with_options(args=("b",), **options)
    pool.take_all()
    pool.work()
    assert effects() == ["a", "b"]
    assert pool.groups == ([1, 1] if options else [2])


def test_actors_of_other_kinds_run_in_no_batch(pool: Pool, actor: Declare) -> None:
    names: list[str] = []
    one = actor(names.append)
    outbox_middleware_of(dramatiq.get_broker()).engine.state.last_run_seconds[one.actor_name] = 0.0
    send_all(one, "a", "b")
    pool.take_all()
    pool.work_once()
    assert names == ["a"]
    assert pool.thread.work_queue.qsize() == 1
    pool.work()


def test_a_message_that_does_not_begin_in_time_is_given_back_in_its_place(pool: Pool, quick: Declare) -> None:
    times = iter([0.0, 0.0, QUICK_SECONDS * 2])
    pool.thread.clock = lambda: next(times)
    send_all(quick(named), "a", "b", "c", "d")
    pool.take_all()
    pool.work_once()
    assert (effects(), pool.thread.work_queue.qsize()) == (["a", "b"], 2)
    del pool.thread.clock
    pool.work_once()
    assert effects() == ["a", "b", "c", "d"]


def test_a_worker_that_is_to_stop_begins_nothing_more(pool: Pool, quick: Declare) -> None:
    stopping = outbox_middleware_of(dramatiq.get_broker()).engine.state.stopping

    def stop(name: str) -> Group:
        stopping.set()
        return named(name)

    send_all(quick(stop), "a", "b", "c")
    pool.take_all()
    pool.work_once()
    assert (effects(), pool.consumer.ends) == (["a"], ["ack"])
    while not pool.thread.work_queue.empty():
        pool.thread.work_queue.get()
        pool.thread.work_queue.task_done()


def test_each_goes_through_the_hooks_once_and_in_order(pool: Pool, quick: Declare) -> None:
    heard: list[str] = []

    class Listener(Middleware):
        def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
            heard.append(f"before {message.args[0]}")

        def after_process_message(self, broker: Broker, message: MessageProxy, **_: Any) -> None:
            heard.append(f"after {message.args[0]}, {len(effects())} settled")

    broker, listener = dramatiq.get_broker(), Listener()
    send_all(quick(named), "a", "b")
    pool.take_all()
    broker.middleware.insert(0, listener)
    try:
        pool.work_once()
    finally:
        broker.middleware.remove(listener)
    assert heard == ["before a", "before b", "after a, 2 settled", "after b, 2 settled"]


def test_what_a_middleware_skips_is_done_and_the_others_go_on(pool: Pool, quick: Declare) -> None:
    class SkipOne(Middleware):
        def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
            if message.args == ("skipped",):
                raise SkipMessage("paused")

    broker, skip_one = dramatiq.get_broker(), SkipOne()
    send_all(quick(named), "a", "skipped", "b")
    pool.take_all()
    broker.middleware.insert(0, skip_one)
    try:
        pool.work()
    finally:
        broker.middleware.remove(skip_one)
    assert (effects(), pool.consumer.ends, OutboxMessage.objects.count()) == (["a", "b"], ["ack"] * 3, 0)


def test_a_database_that_is_lost_at_the_reading_is_waited_for(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_ids: list[int]) -> Any:
        raise_database_away()

    monkeypatch.setattr(delivery, "fetch_unsettled", lose)
    send_all(quick(named), "a", "b")
    pool.take_all()
    pool.work()
    assert (effects(), pool.consumer.ends, pool.consumer.errors) == (["a", "b"], ["ack"] * 2, [])


def test_a_database_that_is_lost_at_the_commit_is_waited_for(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []

    def lose_once(completions: list[Completion]) -> None:
        if len(lost) < 3:
            lost.append(len(completions))
            raise_database_away()
        settle_together(completions)

    monkeypatch.setattr(group_commit, "settle_together", lose_once)
    send_all(quick(named), "a", "b", "c")
    pool.take_all()
    pool.work()
    # All together, the first of them alone, and it once more in `MessageRun.end`, which retries.
    assert lost == [3, 1, 1]
    assert (effects(), pool.consumer.ends, pool.consumer.errors) == (["a", "b", "c"], ["ack"] * 3, [])


def test_none_is_acknowledged_that_a_stopping_worker_could_not_settle(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def lose(completions: list[Completion]) -> None:
        tried.append(len(completions))
        outbox_middleware_of(dramatiq.get_broker()).engine.state.stopping.set()
        raise_database_away()

    monkeypatch.setattr(group_commit, "settle_together", lose)
    send_all(quick(named), "a", "b", "c")
    pool.take_all()
    pool.work_once()
    assert [type(error) for error in pool.consumer.errors] == [LeaveForRedelivery] * 3
    assert (effects(), OutboxMessage.objects.filter(attempt=0).count()) == ([], 3)
    # All together, one alone, and that one again; the others do not wait for the database again, as it did.
    assert tried[:3] == [3, 1, 1]
    assert len(tried) <= 4


def test_one_whose_row_is_locked_keeps_none_of_the_others_waiting(
    pool: Pool, quick: Declare, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no row locks")
    monkeypatch.setattr(delivery, "LOCK_TIMEOUT_MS", 100)
    send_all(quick(named), "locked", "a", "b")
    row = OutboxMessage.objects.order_by("pk")[0]
    pool.take_all()
    end = threading.Event()
    with locked_until(end, row):
        worker = in_another_thread(pool.work)
        assert wait_until(lambda: pool.consumer.ends == ["ack"] * 2, timeout_seconds=30)
        assert effects() == ["a", "b"]
        end.set()
        worker.join(30)
    assert (effects(), pool.consumer.ends) == (["a", "b", "locked"], ["ack"] * 3)


@pytest.mark.parametrize("interrupt", [end_all_deadlines, shut_all_down])
def test_nothing_interrupts_while_a_batch_is_settled(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[], None]
) -> None:
    def interrupted(completions: list[Completion]) -> None:
        interrupt()
        settle_together(completions)

    monkeypatch.setattr(group_commit, "settle_together", interrupted)
    send_all(quick(named, notify_shutdown=True), "a", "b")
    pool.take_all()
    pool.work()
    assert (effects(), pool.consumer.errors) == (["a", "b"], [])


def test_a_time_limit_interrupts_only_the_message_that_exceeds_it(pool: Pool, quick: Declare) -> None:
    def last(name: str) -> Group:
        if name == "long":
            end_all_deadlines()
        return named(name)

    send_all(quick(last), "a", "long", "b")
    pool.take_all()
    pool.work()
    assert effects() == ["a", "b"]
    assert only_row().error.startswith("TimeLimitExceeded")


def test_a_worker_goes_on_under_a_profiler(pool: Pool, quick: Declare) -> None:
    send_all(quick(named), "a", "b")
    pool.take_all()
    with cProfile.Profile():
        pool.work()
    assert effects() == ["a", "b"]


def test_none_is_acknowledged_whose_transaction_an_actor_has_left_open(pool: Pool, quick: Declare) -> None:
    def leave_open(name: str) -> Group:
        if name == "c":
            transaction.set_autocommit(False)
            Group.objects.create(name="never committed")
        return Group(name=name)

    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database cannot be closed")
    send_all(quick(leave_open), "a", "b", "c")
    pool.take_all()
    pool.work()
    connection.close()  # as django_dramatiq's DbConnectionsMiddleware does with one that is left so
    assert (effects(), pool.consumer.ends) == (["a", "b", "c"], ["ack"] * 3)
    assert not OutboxMessage.objects.exists()


def test_dramatiqs_worker_is_given_such_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerThread, "start", lambda self: None)
    broker = dramatiq.get_broker()
    worker = dramatiq.Worker(broker, worker_threads=2)
    outbox_middleware_of(broker).engine.install(worker)
    worker._add_worker()
    [thread] = worker.workers
    assert isinstance(thread, BatchingWorkerThread)
    assert thread.work_queue is worker.work_queue


def test_an_error_of_the_database_that_passes_is_no_failure_of_a_message(
    pool: Pool, quick: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadlock_once(completions: list[Completion]) -> None:
        monkeypatch.setattr(group_commit, "settle_together", settle_together)
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(group_commit, "settle_together", deadlock_once)
    send_all(quick(named), "a", "b")
    pool.take_all()
    pool.work()
    assert (effects(), pool.consumer.errors) == (["a", "b"], [])
