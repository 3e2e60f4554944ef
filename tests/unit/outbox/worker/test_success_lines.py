"""What an actor logs about its success is logged once that is certain, but for the commit, and at least once."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import dramatiq
import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.db import connection

from actors.outbox.models import OutboxMessage
from actors.outbox.worker.log_buffer import log_when_settled
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import HOW_TO_SETTLE, only_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]

logger = logging.getLogger("success")


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged about success."""
    caplog.set_level(logging.INFO)
    return lambda: [one.getMessage() for one in caplog.records if one.name == "success"]


Lines = Callable[[], list[str]]


def work(name: str) -> None:
    log_when_settled(logger, "made %s", name)


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_it_is_logged_when_the_message_is_settled(
    inline_worker: InlineWorker, actor: Declare, lines: Lines, options: dict[str, bool]
) -> None:
    actor(work, **options).send("one")
    row = only_row()
    inline_worker.deliver(row)
    assert lines() == ["made one"]
    inline_worker.deliver(row, redelivered=True)
    assert lines() == ["made one"]


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_of_a_failed_attempt_nothing_is_logged(
    inline_worker: InlineWorker, actor: Declare, lines: Lines, options: dict[str, bool]
) -> None:
    failures = [1]

    def work_once_in_vain(name: str) -> None:
        work(name)
        if failures:
            failures.pop()
            raise ValueError("wrong")

    actor(work_once_in_vain, **options).send("one")
    inline_worker.deliver(only_row())
    assert lines() == []
    inline_worker.deliver(only_row())
    assert lines() == ["made one"]


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_if_a_follow_up_cannot_be_sent_nothing_is_logged(
    inline_worker: InlineWorker, actor: Declare, lines: Lines, options: dict[str, bool]
) -> None:
    one = actor(work, **options)
    one.send("one")
    one.options["on_success"] = "no_such_actor"  # since a later release
    inline_worker.deliver(only_row())
    assert (only_row().attempt, lines()) == (1, [])


def test_if_the_rows_do_not_fit_nothing_is_logged(inline_worker: InlineWorker, actor: Declare, lines: Lines) -> None:
    def make(name: str) -> Group:
        work(name)
        return Group(name=name)

    Group.objects.create(name="taken")
    actor(make, returns_rows=True).send("taken")
    inline_worker.deliver(only_row())
    assert (only_row().attempt, lines()) == (1, [])


@pytest.mark.parametrize("options", [{}, {"returns_rows": True}])
def test_if_only_the_commit_would_refuse_nothing_is_logged(
    inline_worker: InlineWorker, actor: Declare, lines: Lines, options: dict[str, bool]
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite checks foreign keys at the commit alone")

    def make() -> LogEntry | None:
        work("an entry")
        entry = LogEntry(user_id=10**6, action_flag=CHANGE)
        if options:
            return entry
        entry.save()
        return None

    actor(make, **options).send()
    inline_worker.deliver(only_row())
    assert (only_row().attempt, lines()) == (1, [])


def test_without_a_message_it_is_logged_at_once(lines: Lines) -> None:
    work("one")
    assert lines() == ["made one"]


def test_an_actor_that_is_called_as_a_function_logs_with_its_caller(
    inline_worker: InlineWorker, actor: Declare, lines: Lines
) -> None:
    inner = actor(work, returns_rows=True)

    def fail_after() -> None:
        inner("inner")
        assert lines() == []
        raise ValueError("wrong")

    actor(fail_after).send()
    inline_worker.deliver(only_row())
    assert lines() == []
    OutboxMessage.objects.all().delete()
    actor(partial(inner, "inner"), actor_name="calls").send()
    inline_worker.deliver(only_row())
    assert lines() == ["made inner"]


def test_a_called_actor_whose_rows_do_not_fit_logs_nothing(actor: Declare, lines: Lines) -> None:
    def make(name: str) -> Any:
        work(name)
        return "no row"

    with pytest.raises(TypeError):
        actor(make, returns_rows=True)("one")
    assert lines() == []
