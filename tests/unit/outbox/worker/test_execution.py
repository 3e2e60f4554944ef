"""A message's effect happens exactly once, and its outcome is always written."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models.functions import Now
from dramatiq import composition
from dramatiq.middleware import Shutdown
from pytest_django import Settings

from actors.outbox.context import Context, sent_by
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.poison import MAX_STARTS, SUSPECT_STARTS
from actors.outbox.worker.retries import OutboxRetries
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import add_effect, effects, only_row, raise_database_away

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


def fail() -> None:
    add_effect()
    raise ValueError("wrong\0 input")


def test_settling_deletes_the_row_with_the_effect(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send("one")
    assert inline_worker.deliver(only_row()) == "ack"
    assert effects() == ["one"]
    assert not OutboxMessage.objects.exists()


def test_a_second_copy_of_a_settled_message_does_nothing(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send("one")
    row = only_row()
    inline_worker.deliver(row)
    assert inline_worker.deliver(row) == "ack"
    assert effects() == ["one"]


def test_the_same_message_sent_twice_runs_twice(inline_worker: InlineWorker, actor: Declare) -> None:
    calls: list[int] = []
    message = actor(lambda: calls.append(1)).message()
    for _ in range(2):
        dramatiq.get_broker().enqueue(message)
    inline_worker.deliver_all()
    assert calls == [1, 1]


def test_a_foreign_message_simply_runs(inline_worker: InlineWorker, actor: Declare) -> None:
    message = actor(add_effect).message("foreign")
    assert inline_worker.run(dramatiq.MessageProxy(message)) == "ack"
    assert effects() == ["foreign"]


def test_a_failure_undoes_the_effect_and_schedules_a_retry_on_the_row(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    actor(fail, min_backoff=60_000, max_backoff=60_000).send()
    before = only_row()
    assert inline_worker.deliver(before) == "ack"
    after = only_row()
    assert effects() == []
    assert (after.pk, after.state, after.attempt) == (before.pk, State.SCHEDULED, 1)
    assert (after.due_at - before.due_at).total_seconds() >= 30
    assert after.error.startswith("ValueError: wrong")
    assert "in fail" in after.traceback


def test_a_pause_of_0_in_the_settings_is_none(actor: Declare, settings: Settings) -> None:
    settings.OUTBOX_MIN_BACKOFF_MS = 0
    verdict = OutboxRetries().judge(actor(fail), options={}, attempt=9, error=ValueError())
    assert verdict.delay_ms == 0


def test_an_older_attempt_is_superseded(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(fail).send()
    old = only_row()
    inline_worker.deliver(old)
    assert inline_worker.deliver(old) == "ack"
    assert only_row().attempt == 1


def test_exhausted_retries_leave_a_dead_letter_for_good(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(fail, max_retries=1).send()
    inline_worker.deliver(only_row())
    assert inline_worker.deliver(only_row()) == "nack"
    dead = only_row()
    assert (dead.state, dead.attempt) == (State.DEAD, 1)
    assert (dead.reason, dead.error) == ("retries exhausted", "ValueError: wrong\\0 input")
    assert dead.died_at is not None
    assert inline_worker.deliver(dead) == "ack"
    assert (only_row().state, effects()) == (State.DEAD, [])


def test_throws_are_not_retried(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(fail, throws=ValueError).send()
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().reason) == (State.DEAD, "throws")


def test_retry_when_decides(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(fail, retry_when=lambda attempt, error: attempt < 2).send()
    for _ in range(3):
        inline_worker.deliver(only_row())
    assert (only_row().state, only_row().attempt) == (State.DEAD, 2)


def test_on_retry_exhausted_is_part_of_the_death(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(lambda message, info: add_effect(f"gave up after {info['retries']}"), actor_name="give_up")
    actor(fail, max_retries=0, on_retry_exhausted="give_up").send()
    inline_worker.deliver_all()
    assert effects() == ["gave up after 0"]


def test_a_pipeline_is_cut_nowhere(inline_worker: InlineWorker, actor: Declare) -> None:
    def double(number: int) -> int:
        add_effect(f"doubled {number}")
        return number * 2

    first = actor(double)
    composition.pipeline([first.message(1), first.message(), first.message()]).run()
    inline_worker.deliver_all()
    assert effects() == ["doubled 1", "doubled 2", "doubled 4"]


def test_a_pipeline_s_next_step_rolls_back_with_its_step(inline_worker: InlineWorker, actor: Declare) -> None:
    step, after = actor(fail), actor(add_effect)
    composition.pipeline([step.message(), after.message("never")]).run()
    inline_worker.deliver(only_row())
    assert (OutboxMessage.objects.count(), effects()) == (1, [])


def test_on_success_is_sent_with_the_effect(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(lambda message, result: add_effect("called back"), actor_name="call_back")
    actor(add_effect, on_success="call_back").send("one")
    inline_worker.deliver_all()
    assert effects() == ["called back", "one"]


def test_a_group_is_sent_in_the_transaction_of_its_caller(inline_worker: InlineWorker, actor: Declare) -> None:
    one = actor(add_effect)
    with transaction.atomic():
        composition.group([one.message("a"), one.message("b")]).run()
        transaction.set_rollback(True)
    assert not OutboxMessage.objects.exists()


def test_a_database_that_is_away_costs_no_retry(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, failures = Delivery.locked_row, [1, 1]

    def fail_twice(self: Delivery) -> OutboxMessage:
        if failures:
            failures.pop()
            raise_database_away()
        return lock(self)

    monkeypatch.setattr(Delivery, "locked_row", fail_twice)
    actor(add_effect).send("one")
    assert inline_worker.deliver(only_row()) == "ack"
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


def test_a_message_that_keeps_killing_its_worker_is_given_up(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send()
    OutboxMessage.objects.update(starts=MAX_STARTS)
    assert inline_worker.deliver(only_row(), redelivered=True) == "nack"
    assert (only_row().state, only_row().reason, effects()) == (State.DEAD, "starts exceeded", [])


def test_a_redelivery_that_ends_well_is_settled(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send("one")
    inline_worker.deliver(only_row(), redelivered=True)
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


def test_a_suspect_runs_after_a_pause_of_its_own(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send("one")
    OutboxMessage.objects.update(starts=SUSPECT_STARTS, state=State.PUBLISHED)
    before = only_row()
    assert inline_worker.deliver(before, redelivered=True) == "ack"
    suspect = only_row()
    assert (suspect.state, suspect.starts, suspect.attempt) == (State.SCHEDULED, SUSPECT_STARTS, 0)
    assert (suspect.due_at > before.due_at, effects()) == (True, [])
    inline_worker.deliver(suspect)
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


@pytest.mark.parametrize("options", [{}, {"outside_effects": True}, {"returns_rows": True}])
def test_suspects_that_come_together_run_one_at_a_time_and_waiting_is_no_start(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    names = ("first", "second", "third")
    for name in names:
        actor(add_effect, **options).send(name)
    OutboxMessage.objects.update(starts=SUSPECT_STARTS, state=State.PUBLISHED, due_at=Now())
    first, *others = OutboxMessage.objects.order_by("pk")
    for row in others:
        assert inline_worker.deliver(row) == "ack"
    assert effects() == []
    later = list(OutboxMessage.objects.filter(state=State.SCHEDULED, starts=SUSPECT_STARTS).order_by("pk"))
    assert [row.pk for row in later] == [row.pk for row in others]
    assert first.due_at < later[0].due_at < later[1].due_at  # the more are before it, the later it comes again
    for row in (first, *later):
        inline_worker.deliver(row)
    assert effects() == list(names)


@pytest.mark.parametrize("change", [{"queue": "another"}, {"state": State.DEAD}, {"starts": SUSPECT_STARTS - 1}])
def test_a_suspect_waits_only_for_suspects_of_its_queue(
    inline_worker: InlineWorker, actor: Declare, change: dict[str, Any]
) -> None:
    for name in ("other", "one"):
        actor(add_effect).send(name)
    OutboxMessage.objects.update(starts=SUSPECT_STARTS, state=State.PUBLISHED)
    other, one = OutboxMessage.objects.order_by("pk")
    OutboxMessage.objects.filter(pk=other.pk).update(**change)
    inline_worker.deliver(one)
    assert effects() == ["one"]


@pytest.mark.parametrize("options", [{}, {"outside_effects": True}, {"returns_rows": True}])
def test_every_start_of_a_suspect_is_counted(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    starts: list[int] = []
    actor(lambda: starts.append(only_row().starts), **options).send()
    OutboxMessage.objects.update(starts=SUSPECT_STARTS)
    inline_worker.deliver(only_row())
    assert starts == [SUSPECT_STARTS + 1]


def test_a_run_that_a_shutdown_interrupts_is_left_for_redelivery_with_its_starts_reset(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    def stop() -> None:
        add_effect()
        raise Shutdown

    actor(stop).send()
    inline_worker.deliver(only_row(), redelivered=True)
    [error] = inline_worker.errors
    assert isinstance(error, LeaveForRedelivery)
    assert (only_row().starts, only_row().attempt, effects()) == (0, 0, [])


def test_a_worker_that_stops_while_the_database_is_away_leaves_the_message_for_redelivery(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Delivery) -> OutboxMessage:
        raise_database_away()

    actor(add_effect).send()
    row = only_row()
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "locked_row", fail)
        inline_worker.stop()
        inline_worker.deliver(row)
    [error] = inline_worker.errors
    assert isinstance(error, LeaveForRedelivery)
    assert (only_row().attempt, effects()) == (0, [])


def test_on_failure_is_sent_for_every_failed_attempt(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(lambda message, failure: add_effect(f"{failure['type']} {Group.objects.count()}"), actor_name="sigh")
    actor(fail, max_retries=1, on_failure="sigh").send()
    failing = only_row()
    inline_worker.deliver(failing)
    failing.refresh_from_db()
    inline_worker.deliver(failing)
    inline_worker.deliver_all()
    assert effects() == ["ValueError 0", "ValueError 1"]


def test_a_failure_that_cannot_be_handled_is_kept_all_the_same(inline_worker: InlineWorker, actor: Declare) -> None:
    failing = actor(fail)
    failing.send()
    failing.options["on_failure"] = "no_such_actor"  # since a later release
    assert inline_worker.deliver(only_row()) == "nack"
    assert (only_row().state, only_row().reason) == (State.DEAD, "failure not handled")
    assert only_row().error.startswith("ValueError: wrong")
    assert "no_such_actor" in only_row().error
    assert "in fail" in only_row().traceback


def test_what_an_actor_sends_has_the_origin_of_its_message(inline_worker: InlineWorker, actor: Declare) -> None:
    second = actor(add_effect)
    first = actor(lambda: second.send("later") and None)
    with sent_by(Context(request_id="r1", changed_by="user1", changed_by_id=7)):
        first.send()
    inline_worker.deliver(only_row())
    assert (only_row().request_id, only_row().changed_by, only_row().changed_by_id) == ("r1", "user1", 7)


def test_an_actor_called_as_a_function_settles_nothing(actor: Declare) -> None:
    one = actor(add_effect)
    one.send("sent")
    one("called")
    assert (effects(), OutboxMessage.objects.count()) == (["called"], 1)
