"""Coroutine actors: declared only where they can keep their promise, and run to their end."""

import asyncio
import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import dramatiq
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from dramatiq.middleware import AsyncIO, CurrentMessage, Shutdown, TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from actors.outbox.context import Context, current_trail, sent_by
from actors.outbox.exceptions import LeaveForRedelivery, NotSupported
from actors.outbox.models import OutboxMessage, State
from tests.unit.outbox.inline_worker import QUEUE, InlineWorker
from tests.unit.outbox.race_steps import add_effect, effects, only_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture
def without_loop() -> Iterator[None]:
    """A broker with the AsyncIO middleware, in a process that runs no worker."""
    broker = dramatiq.get_broker()
    broker.add_middleware(AsyncIO())
    yield
    broker.middleware.pop()


@pytest.fixture
def loop(without_loop: None) -> Iterator[None]:
    """The event loop of a worker."""
    middleware, broker = AsyncIO(), dramatiq.get_broker()
    middleware.before_worker_boot(broker, None)
    yield
    middleware.after_worker_shutdown(broker, None)


async def add(name: str = "effect") -> None:
    await Group.objects.acreate(name=name)


async def iterate() -> AsyncIterator[int]:
    yield 1


def count() -> Iterator[int]:
    yield 1


class Called:
    async def __call__(self) -> None:
        await add()


def awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


COROUTINES = [add, functools.partial(add, "effect"), Called(), awaiting(add)]


@pytest.mark.parametrize("function", COROUTINES[:3])
@pytest.mark.parametrize("options", [{}, {"returns_rows": True}])
def test_a_coroutine_that_would_run_outside_its_transaction_is_refused_where_it_is_declared(
    without_loop: None, actor: Declare, function: Callable[..., Any], options: dict[str, bool]
) -> None:
    with pytest.raises(NotSupported, match=r"outside_effects=True .*async_to_sync"):
        actor(function, actor_name="refused", **options)
    assert "refused" not in dramatiq.get_broker().actors


def test_a_generic_actor_is_refused_as_well(without_loop: None) -> None:
    with pytest.raises(NotSupported, match="Work is a coroutine"):

        class Work(dramatiq.GenericActor):
            class Meta:
                queue_name = QUEUE

            async def perform(self) -> None:
                await add()


@pytest.mark.parametrize("function", COROUTINES[:3])
def test_a_coroutine_without_an_event_loop_is_refused(actor: Declare, function: Callable[..., Any]) -> None:
    with pytest.raises(NotSupported, match=r'add "dramatiq\.middleware\.AsyncIO"'):
        actor(function, outside_effects=True)


@pytest.mark.parametrize("function", [count, iterate, functools.partial(count)])
def test_a_generator_is_refused(actor: Declare, function: Callable[..., Any]) -> None:
    with pytest.raises(NotSupported, match="is a generator"):
        actor(function, outside_effects=True)


@pytest.mark.parametrize(
    ("made", "reason"), [(add, "is a coroutine"), (count, "a generator"), (iterate, "a generator")]
)
def test_what_only_its_result_shows_fails_and_runs_nothing(
    inline_worker: InlineWorker, actor: Declare, made: Callable[..., Any], reason: str
) -> None:
    actor(awaiting(made), max_retries=0).send()
    inline_worker.deliver(only_row())
    assert only_row().state == State.DEAD
    assert reason in only_row().error
    assert effects() == []


@pytest.mark.parametrize("function", COROUTINES)
def test_every_form_of_a_coroutine_runs(
    loop: None, inline_worker: InlineWorker, actor: Declare, function: Callable[..., Any]
) -> None:
    actor(function, outside_effects=True).send()
    assert inline_worker.deliver(only_row()) == "ack"
    assert (effects(), OutboxMessage.objects.count()) == (["effect"], 0)


def test_a_generic_actor_runs(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    class Work(dramatiq.GenericActor):
        class Meta:
            queue_name = QUEUE
            outside_effects = True

        async def perform(self) -> None:
            await add()

    Work.send()
    assert inline_worker.deliver(only_row()) == "ack"
    assert effects() == ["effect"]


def test_its_rows_are_settled_with_the_message(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    async def make() -> Group:
        return Group(name="returned")

    actor(make, outside_effects=True, returns_rows=True).send()
    inline_worker.deliver_all()
    assert (effects(), OutboxMessage.objects.count()) == (["returned"], 0)


def test_a_failure_is_retried_and_says_where(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    async def fail() -> None:
        await add()
        raise TimeoutError("the other side")

    actor(fail, outside_effects=True, max_retries=0).send()
    inline_worker.deliver(only_row())
    row = only_row()
    assert (row.state, row.error, row.held_until) == (State.DEAD, "TimeoutError: the other side", None)
    assert "in fail" in row.traceback


def test_one_that_exits_ends_no_other(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    async def leave() -> None:
        sys.exit("no more")

    actor(leave, outside_effects=True, max_retries=0).send()
    actor(add, outside_effects=True).send()
    inline_worker.deliver_all()
    assert (only_row().error, effects()) == ("RuntimeError: SystemExit was raised in a coroutine", ["effect"])


def test_what_it_sends_has_the_origin_of_its_message(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    seen: list[Any] = []
    other = actor(add_effect)

    async def work() -> None:
        seen.extend([current_trail(), CurrentMessage.get_current_message()])
        await sync_to_async(other.send)("sent")

    with sent_by(Context(request_id="r-1", changed_by="user1", changed_by_id=7)):
        actor(work, outside_effects=True).send()
    inline_worker.deliver(only_row())
    row = only_row()
    assert (row.request_id, row.changed_by, row.changed_by_id) == ("r-1", "user1", 7)
    assert all(seen)


def test_a_send_without_a_thread_is_an_error_that_says_what_to_do(
    loop: None, inline_worker: InlineWorker, actor: Declare
) -> None:
    other = actor(add_effect)

    async def work() -> None:
        other.send("sent")

    actor(work, outside_effects=True, max_retries=0).send()
    inline_worker.deliver(only_row())
    assert "sync_to_async" in only_row().error


@pytest.mark.parametrize("hand_over", [sync_to_async, sync_to_async(thread_sensitive=False), None])
def test_the_connections_of_its_threads_are_closed(
    loop: None, inline_worker: InlineWorker, actor: Declare, hand_over: Any
) -> None:
    opened: list[Any] = []

    def query() -> None:
        add_effect(f"effect {len(opened)}")
        opened.append(connections["default"])

    async def work() -> None:
        for _ in range(2):
            await (hand_over(query)() if hand_over else asyncio.to_thread(query))

    actor(work, outside_effects=True).send()
    assert inline_worker.deliver(only_row()) == "ack"
    assert effects() == ["effect 0", "effect 1"]
    assert [one.connection for one in opened] == [None, None]
    assert connection not in opened


# Interruptions


def interrupted(begun: threading.Event, *interruptions: type[BaseException]) -> None:
    """Raise interruptions in this thread once a coroutine has begun."""
    this = threading.get_ident()

    def interrupt() -> None:
        assert begun.wait(30)
        for one in interruptions:
            raise_thread_exception(this, one)

    threading.Thread(target=interrupt, daemon=True).start()


def test_one_that_is_interrupted_is_waited_for(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    begun, may_end, seen = threading.Event(), threading.Event(), []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.to_thread(may_end.wait, 30)
            seen.append("cleaned up")
            raise

    actor(work, outside_effects=True).send()
    interrupted(begun, TimeLimitExceeded)
    threading.Timer(1.5, may_end.set).start()  # Dramatiq would wait for a second
    inline_worker.deliver(only_row())
    assert seen == ["cancelled", "cleaned up"]
    assert only_row().error.startswith("TimeLimitExceeded")
    assert (only_row().state, only_row().held_until) == (State.SCHEDULED, None)


def test_a_shutdown_gives_the_message_back(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(60)

    actor(work, outside_effects=True, notify_shutdown=True).send()
    interrupted(begun, Shutdown)
    inline_worker.deliver(only_row())
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)
    assert (only_row().attempt, only_row().starts, only_row().held_until) == (0, 0, None)


def test_one_that_ends_well_all_the_same_is_settled(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await add("in time")

    actor(work, outside_effects=True).send()
    interrupted(begun, TimeLimitExceeded)
    assert inline_worker.deliver(only_row()) == "ack"
    assert (effects(), OutboxMessage.objects.count()) == (["in time"], 0)


def test_what_it_has_begun_in_a_thread_ends_before_it(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def change() -> None:
        begun.set()
        assert may_end.wait(30)
        add_effect("committed")

    async def work() -> None:
        await sync_to_async(change)()

    actor(work, outside_effects=True).send()
    interrupted(begun, TimeLimitExceeded)
    threading.Timer(0.5, may_end.set).start()
    inline_worker.deliver(only_row())
    assert effects() == ["committed"]
    assert only_row().error.startswith("TimeLimitExceeded")


# Called as functions, and functions that call coroutines


def test_one_that_is_called_as_a_function_runs_to_its_end(without_loop: None, actor: Declare) -> None:
    work = actor(add, outside_effects=True)
    with transaction.atomic():
        work("inner")
        transaction.set_rollback(True)
    work("outer")
    assert effects() == ["outer"]


def test_one_may_call_another_as_a_function(loop: None, inline_worker: InlineWorker, actor: Declare) -> None:
    other = actor(add, outside_effects=True)

    async def work() -> None:
        await sync_to_async(other)("called")

    actor(work, outside_effects=True).send()
    inline_worker.deliver(only_row())
    assert effects() == ["called"]


def test_a_function_that_calls_a_coroutine_is_rolled_back_with_it(inline_worker: InlineWorker, actor: Declare) -> None:
    async def work() -> None:
        await asyncio.gather(add("one"), add("two"))
        raise ValueError("wrong")

    actor(async_to_sync(work), max_retries=0).send()
    inline_worker.deliver(only_row())
    assert (effects(), only_row().error) == ([], "ValueError: wrong")


def test_one_that_waits_for_its_own_transaction_is_a_failure(inline_worker: InlineWorker, actor: Declare) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has no lock of the whole database")
    actor(lambda: asyncio.run(add()), max_retries=0).send()
    inline_worker.deliver(only_row())
    assert (effects(), only_row().state) == ([], State.DEAD)
    assert "asyncio.run()" in only_row().error
