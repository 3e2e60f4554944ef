"""Time limits and shutdowns interrupt actors, and never the writing of an outcome."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker import execution
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.failures import write_failure
from actors.outbox.worker.follow_ups import send_follow_ups
from actors.outbox.worker.interrupts import LiftableShutdown, LiftableTimeLimit
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import HOW_TO_SETTLE, add_effect, effects, only_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


def end_all_deadlines() -> None:
    [limit] = [one for one in dramatiq.get_broker().middleware if isinstance(one, LiftableTimeLimit)]
    manager: Any = limit.manager
    for thread_id, deadline in manager.deadlines.items():
        manager.deadlines[thread_id] = deadline and 1  # long ago
    manager._handle_deadlines()
    let_interruptions_arrive()


def shut_all_down() -> None:
    [shutdown] = [one for one in dramatiq.get_broker().middleware if isinstance(one, LiftableShutdown)]
    shutdown.manager.shutdown()
    let_interruptions_arrive()


def let_interruptions_arrive() -> None:
    """Run some bytecode: an exception that was raised from outside is delivered between two instructions."""
    for _ in range(100):
        pass


however_it_settles = pytest.mark.parametrize("options", HOW_TO_SETTLE)
however_interrupted = pytest.mark.parametrize("interrupt", [end_all_deadlines, shut_all_down])


@however_it_settles
@however_interrupted
def test_nothing_interrupts_the_settling_of_an_effect(
    inline_worker: InlineWorker,
    actor: Declare,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, bool],
    interrupt: Callable[[], None],
) -> None:
    def interrupted(delivery: Delivery, result: Any) -> None:
        interrupt()
        send_follow_ups(delivery, result)

    monkeypatch.setattr(execution, "send_follow_ups", interrupted)
    actor(lambda: None, notify_shutdown=True, **options).send()
    assert inline_worker.deliver(only_row()) == "ack"
    assert (inline_worker.errors, OutboxMessage.objects.count()) == ([], 0)


@however_it_settles
@however_interrupted
def test_nothing_interrupts_the_writing_of_a_failure(
    inline_worker: InlineWorker,
    actor: Declare,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, bool],
    interrupt: Callable[[], None],
) -> None:
    def interrupted(*arguments: Any) -> None:
        interrupt()
        write_failure(*arguments)

    def fail() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(execution, "write_failure", interrupted)
    actor(fail, notify_shutdown=True, **options).send()
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().error) == (State.SCHEDULED, "ValueError: wrong")


@however_it_settles
def test_a_time_limit_interrupts_the_actor(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    actor(end_all_deadlines, **options).send()
    inline_worker.deliver(only_row())
    assert only_row().error.startswith("TimeLimitExceeded")


@however_it_settles
def test_a_shutdown_interrupts_the_actor_that_asked_for_it(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    actor(shut_all_down, notify_shutdown=True, **options).send()
    inline_worker.deliver(only_row())
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)
    assert (only_row().attempt, only_row().starts, only_row().held_until) == (0, 0, None)


def test_no_worker_starts_under_gevent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.outbox.worker.interrupts.is_gevent_active", lambda: True)
    with pytest.raises(SystemExit, match="start rundramatiq without --use-gevent"):
        dramatiq.Worker(dramatiq.get_broker()).start()


def test_a_shutdown_interrupts_no_other_actor(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(lambda: (shut_all_down(), add_effect())[1]).send()  # type: ignore[func-returns-value]
    inline_worker.deliver(only_row())
    assert effects() == ["effect"]


def test_an_actor_that_would_begin_after_the_shutdown_does_not(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect, notify_shutdown=True).send()
    inline_worker.stop()
    inline_worker.deliver(only_row())
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)
    assert (effects(), only_row().attempt) == ([], 0)
