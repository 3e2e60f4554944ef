"""Retries, limits, notifications, coroutines and metrics do over the outbox what Dramatiq's own tests ask of them.

Those tests are in Dramatiq's repository alone, not in its source distribution, which `tests/compat` runs.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import prometheus_client
import pytest
from django.db.models.functions import Now
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.errors import Retry
from dramatiq.middleware import AsyncIO, CurrentMessage, Middleware, TimeLimit, TimeLimitExceeded, prometheus

from actors.outbox.models import OutboxMessage, State
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import add_effect, effects, only_row
from tests.unit.outbox.worker.test_interrupts import end_all_deadlines, shut_all_down

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


class Wrong(Exception):
    pass


class Worse(Exception):
    pass


def raise_wrong() -> None:
    raise Wrong


@pytest.fixture
def add_middleware() -> Iterator[Callable[[Middleware], Middleware]]:
    """Add middleware to the broker for one test."""
    broker = dramatiq.get_broker()
    before, options = list(broker.middleware), set(broker.actor_options)

    def add(middleware: Middleware) -> Middleware:
        broker.add_middleware(middleware)
        return middleware

    yield add
    broker.middleware[:] = before
    broker.actor_options = options


def run_until_dead(inline_worker: InlineWorker) -> int:
    """Deliver the message again after each failure; return how many attempts there were."""
    attempts = 0
    while only_row().state != State.DEAD:
        attempts += 1
        inline_worker.deliver(only_row())
    return attempts


@pytest.mark.parametrize("retries", [0, 4])
def test_a_message_has_as_many_retries_as_it_says_whatever_its_actor_says(
    inline_worker: InlineWorker, actor: Declare, retries: int
) -> None:
    actor(raise_wrong, max_retries=99).send_with_options(max_retries=retries)
    assert run_until_dead(inline_worker) == 1 + retries


@pytest.mark.parametrize("limit", ["min_backoff", "max_backoff"])
@pytest.mark.parametrize("of_message", [False, True])
def test_without_a_backoff_a_retry_is_due_at_once(
    inline_worker: InlineWorker, actor: Declare, limit: str, of_message: bool
) -> None:
    none: dict[str, Any] = {limit: 0}
    actor(raise_wrong, **({"min_backoff": 60_000} if of_message else none)).send_with_options(
        **(none if of_message else {})
    )
    inline_worker.deliver(only_row())
    assert only_row().attempt == 1
    assert OutboxMessage.objects.filter(due_at__lte=Now()).exists()


def test_an_actor_that_asks_for_a_retry_says_when(inline_worker: InlineWorker, actor: Declare) -> None:
    def ask() -> None:
        raise Retry(delay=3_600_000)

    actor(ask).send()
    before = only_row()
    inline_worker.deliver(before)
    assert (only_row().state, only_row().attempt) == (State.SCHEDULED, 1)
    assert (only_row().due_at - before.due_at).total_seconds() >= 3_600


@pytest.mark.parametrize("throws", [Wrong, (Wrong,), (Worse, Wrong), (Worse, Exception)])
def test_an_expected_error_is_not_retried_whether_it_is_one_of_several_or_of_a_kind(
    inline_worker: InlineWorker, actor: Declare, throws: Any
) -> None:
    actor(raise_wrong, throws=throws).send()
    assert run_until_dead(inline_worker) == 1
    assert only_row().reason == "throws"


def test_what_decides_on_a_retry_is_given_the_error(inline_worker: InlineWorker, actor: Declare) -> None:
    def decide(retries: int, error: BaseException) -> bool:
        return retries < 3 and isinstance(error, Worse)

    def fail(error: str) -> None:
        raise {"wrong": Wrong, "worse": Worse}[error]

    declared = actor(fail, retry_when=decide, max_retries=0)
    declared.send("wrong")
    assert run_until_dead(inline_worker) == 1
    OutboxMessage.objects.all().delete()
    declared.send("worse")
    assert run_until_dead(inline_worker) == 4


@pytest.mark.parametrize("failures", [0, 1])
def test_on_retry_exhausted_is_not_sent_for_a_success(
    inline_worker: InlineWorker, actor: Declare, failures: int
) -> None:
    remaining = [Retry(delay=0)] * failures
    actor(lambda *_: add_effect("gave up"), actor_name="give_up")

    def succeed_at_last() -> None:
        if remaining:
            raise remaining.pop()
        add_effect("done")

    actor(succeed_at_last, max_retries=2, on_retry_exhausted="give_up").send()
    while OutboxMessage.objects.exists():
        inline_worker.deliver(only_row())
    assert effects() == ["done"]


def test_a_message_that_has_become_too_old_is_not_retried(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect, max_age=60_000).send()
    message = dramatiq.Message.decode(bytes(only_row().body))
    old = message.copy()
    object.__setattr__(old, "message_timestamp", message.message_timestamp - 60_000)
    OutboxMessage.objects.update(body=old.encode(), attempt=1, state=State.PUBLISHED)
    # Rejected: RabbitMQ moves it to its queue of dead letters, from which it comes back as a dead row.
    assert inline_worker.deliver(only_row()) == "nack"
    assert effects() == []


def test_a_message_has_a_time_limit_of_its_own(inline_worker: InlineWorker, actor: Declare) -> None:
    [limit] = [each for each in dramatiq.get_broker().middleware if isinstance(each, TimeLimit)]
    manager: Any = limit.manager
    deadlines: list[float] = []
    actor(lambda: deadlines.extend(filter(None, manager.deadlines.values())), time_limit=3_600_000).send_with_options(
        time_limit=60_000
    )
    inline_worker.deliver(only_row())
    assert deadlines[0] <= time.monotonic() + 60


def test_an_actor_that_exceeds_its_time_limit_and_has_no_retry_is_a_dead_letter(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    caught: list[str] = []

    def work() -> None:
        try:
            end_all_deadlines()
        except TimeLimitExceeded:
            caught.append("time limit")
            raise
        caught.append("nothing")

    actor(work, max_retries=0).send()
    assert run_until_dead(inline_worker) == 1
    assert caught == ["time limit"]
    assert only_row().error.startswith("TimeLimitExceeded")


@pytest.mark.parametrize(
    ("of_actor", "of_message", "is_notified"),
    [
        (True, True, True),
        (True, False, False),
        (True, None, True),
        (False, True, True),
        (False, False, False),
        (False, None, False),
        (None, True, True),
        (None, False, False),
        (None, None, False),
    ],
)
def test_a_message_is_notified_of_a_shutdown_if_it_or_else_its_actor_asks_for_it(
    inline_worker: InlineWorker, actor: Declare, of_actor: bool | None, of_message: bool | None, is_notified: bool
) -> None:
    def work() -> None:
        shut_all_down()
        add_effect("finished")

    actor(work, notify_shutdown=of_actor).send_with_options(notify_shutdown=of_message)
    inline_worker.deliver(only_row())
    assert effects() == ([] if is_notified else ["finished"])
    assert OutboxMessage.objects.exists() is is_notified


def test_a_message_that_is_over_is_notified_of_no_shutdown(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect, notify_shutdown=True).send("one")
    inline_worker.deliver(only_row())
    shut_all_down()
    assert effects() == ["one"]


@pytest.fixture
def event_loop(add_middleware: Callable[[Middleware], Middleware]) -> Iterator[None]:
    """Dramatiq's AsyncIO middleware, with its thread."""
    middleware = add_middleware(AsyncIO())
    broker: Any = dramatiq.get_broker()
    middleware.before_worker_boot(broker, None)  # type: ignore[arg-type]
    yield
    middleware.after_worker_shutdown(broker, None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("event_loop")
def test_a_coroutine_s_result_goes_on_in_its_pipeline(inline_worker: InlineWorker, actor: Declare) -> None:
    async def add(left: int, right: int) -> int:
        await asyncio.sleep(0)
        return left + right

    declared = actor(add, outside_effects=True)
    note = actor(lambda total: add_effect(f"total {total}"))
    (declared.message(1, 2) | declared.message(3) | note.message()).run()
    inline_worker.deliver_all()
    assert effects() == ["total 6"]


@pytest.mark.usefixtures("event_loop")
def test_a_coroutine_s_error_is_its_message_s_failure(inline_worker: InlineWorker, actor: Declare) -> None:
    async def fail() -> None:
        raise Wrong("in a coroutine")

    actor(fail, outside_effects=True, max_retries=1).send()
    assert run_until_dead(inline_worker) == 2
    assert only_row().error == "Wrong: in a coroutine"
    assert "in fail" in only_row().traceback


@pytest.mark.usefixtures("event_loop")
def test_a_coroutine_sees_its_own_message(inline_worker: InlineWorker, actor: Declare) -> None:
    seen: list[str] = []

    async def look() -> None:
        message = CurrentMessage.get_current_message()
        assert message is not None
        seen.append(message.message_id)

    declared = actor(look, outside_effects=True)
    sent = [declared.send().message_id, declared.send().message_id]
    inline_worker.deliver_all()
    assert seen == sent


@pytest.mark.usefixtures("event_loop")
def test_a_coroutine_runs_in_the_thread_of_the_event_loop(inline_worker: InlineWorker, actor: Declare) -> None:
    threads: list[object] = []

    async def look() -> None:
        threads.append(threading.current_thread())

    actor(look, outside_effects=True).send()
    inline_worker.deliver(only_row())
    assert threads == [get_event_loop_thread()]


@pytest.fixture
def metrics(
    add_middleware: Callable[[Middleware], Middleware], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], float]:
    """Dramatiq's Prometheus middleware; the value of one of its metrics, of the actor `measured`."""
    monkeypatch.setattr(prometheus, "DB_PATH", str(tmp_path))
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        monkeypatch.setenv(name, str(tmp_path))
    middleware: Any = add_middleware(prometheus.Prometheus())
    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "CollectorRegistry", lambda: registry)
    middleware.after_process_boot(dramatiq.get_broker())

    def value(name: str) -> float:
        labels = {"queue_name": "tests", "actor_name": "measured"}
        return registry.get_sample_value(f"dramatiq_{name}", labels) or 0.0

    return value


def test_prometheus_counts_messages_their_errors_and_how_long_they_take(
    inline_worker: InlineWorker, actor: Declare, metrics: Callable[[str], float]
) -> None:
    in_progress: list[float] = []

    def work(*, fails: bool) -> None:
        in_progress.append(metrics("messages_inprogress"))
        if fails:
            raise Wrong

    declared = actor(work, actor_name="measured", max_retries=0)
    for fails in (False, False, True):
        declared.send(fails=fails)
    inline_worker.deliver_all()
    assert (metrics("messages_total"), metrics("message_errors_total")) == (3, 1)
    assert metrics("message_duration_milliseconds_count") == 3
    assert (in_progress, metrics("messages_inprogress")) == ([1, 1, 1], 0)
