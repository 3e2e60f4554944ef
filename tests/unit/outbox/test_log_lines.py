"""Log lines for operators: each names the actor, the subject and the error, so that no row has to be looked up."""

import logging
import re
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import uuid4

import dramatiq
import pytest
from django.contrib.auth.models import Group
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import Shutdown

from actors.outbox import store
from actors.outbox.context import log_fields
from actors.outbox.dead_letters import decisions
from actors.outbox.models import Operator, OutboxMessage
from actors.outbox.relay import relay
from actors.outbox.worker.poison import MAX_STARTS
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import HOW_TO_SETTLE, only_row, raise_database_away

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]
Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What the outbox has logged."""
    caplog.set_level(logging.INFO, "actors.outbox")
    return lambda: [one.getMessage() for one in caplog.records if one.name.startswith("actors.outbox")]


def fail() -> NoReturn:
    raise ValueError("no such address")


def test_a_retry_names_actor_subject_attempts_and_error(
    inline_worker: InlineWorker, actor: Declare, lines: Lines
) -> None:
    actor(fail, actor_name="send_mail", min_backoff=4_000, max_backoff=4_000).send_with_options(subject="task:7")
    row = only_row()
    inline_worker.deliver(row)
    [line] = lines()
    assert re.fullmatch(
        f"state=scheduled actor=send_mail subject=task:7 row={row.pk} attempts=1 error='ValueError: no such address' "
        r"delay_ms=\d+ due_at=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+05:00",
        line,
    )


def test_a_death_names_actor_subject_attempts_and_error(
    inline_worker: InlineWorker, actor: Declare, lines: Lines
) -> None:
    actor(fail, actor_name="send_mail", max_retries=1).send_with_options(subject="task:7")
    row = only_row()
    for _ in range(2):
        inline_worker.deliver(only_row())
    assert lines()[-1] == (
        f"state=dead actor=send_mail subject=task:7 row={row.pk} attempts=2 "
        "error='ValueError: no such address' reason='retries exhausted'"
    )


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_of_twenty_failures_the_first_and_the_death_have_a_traceback(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture, options: dict[str, bool]
) -> None:
    caplog.set_level(logging.INFO)
    actor(fail, max_retries=20, **options).send()
    for _ in range(21):
        inline_worker.deliver(only_row())
    assert [one.getMessage().split()[0] for one in caplog.records] == ["state=scheduled"] * 20 + ["state=dead"]
    assert [one.levelname for one in caplog.records] == ["ERROR", *["INFO"] * 19, "WARNING"]
    assert [bool(one.exc_info) for one in caplog.records] == [True, *[False] * 19, True]
    assert "in fail" in (caplog.records[0].exc_text or "")


def test_after_a_replay_the_first_failure_has_a_traceback_again(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    actor(fail, max_retries=1).send()
    for _ in range(2):
        inline_worker.deliver(only_row())
    decisions.replay(OutboxMessage.objects.all(), by=Operator(name="alice"), why="mended")
    caplog.clear()
    inline_worker.deliver(only_row())
    assert [bool(one.exc_info) for one in caplog.records] == [True]


def test_an_error_that_its_actor_declares_is_an_info_without_a_traceback(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    actor(fail, throws=ValueError).send()
    inline_worker.deliver(only_row())
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage().endswith("error='ValueError: no such address' reason='throws'")


@pytest.mark.parametrize("error", [Retry("later"), RateLimitExceeded("too many")])
def test_a_retry_that_was_asked_for_has_no_traceback(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def ask() -> NoReturn:
        raise error

    caplog.set_level(logging.INFO)
    actor(ask, max_retries=1).send()
    for _ in range(2):
        inline_worker.deliver(only_row())
    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("INFO", None), ("WARNING", None)]


def test_a_failure_that_cannot_be_handled_is_one_line_with_both_tracebacks(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    def decide(retries: int, error: BaseException) -> bool:
        raise ZeroDivisionError

    actor(fail, retry_when=decide).send()
    inline_worker.deliver(only_row())
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "in fail" in (record.exc_text or "")
    assert "in decide" in (record.exc_text or "")


def test_a_message_that_kills_its_worker_is_an_error(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    actor(fail).send()
    OutboxMessage.objects.update(starts=MAX_STARTS)
    inline_worker.deliver(only_row(), redelivered=True)
    assert [one.levelname for one in caplog.records if one.getMessage().startswith("state=dead")] == ["ERROR"]


def test_a_message_that_is_left_for_redelivery_is_no_failure(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    def stop() -> NoReturn:
        raise Shutdown

    actor(stop).send()
    inline_worker.deliver(only_row())
    assert caplog.records == []


def test_a_foreign_message_that_fails_is_logged_by_dramatiq(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    inline_worker.deliver_copy(actor(fail).message().encode())
    assert [one.name for one in caplog.records if one.exc_info] == ["dramatiq.worker.WorkerThread"]


def test_a_death_in_the_relay_is_named(actor: Declare, lines: Lines) -> None:
    actor(fail, actor_name="send_mail").send_with_options(subject="task:7")
    OutboxMessage.objects.update(body=b"no message")
    token = uuid4()
    rows = store.claim(token, 1).rows
    relay.mark_dead(token, rows, relay.encode(rows)[1], reason="undecodable")
    [line] = lines()
    assert line == (
        f"state=dead actor=send_mail subject=task:7 row={rows[0].pk} attempts=1 "
        "error='JSONDecodeError: Expecting value: line 1 column 1 (char 0)' reason='undecodable'"
    )
    assert only_row().state == "dead"


def test_a_wait_for_the_database_names_its_message(inline_worker: InlineWorker, actor: Declare, lines: Lines) -> None:
    failures = [1]

    def work() -> None:
        if failures:
            failures.pop()
            raise_database_away()
        Group.objects.create(name="effect")

    actor(work, actor_name="send_mail").send_with_options(subject="task:7")
    row = only_row()
    inline_worker.deliver(row)
    begins, ends = lines()
    message = f"actor=send_mail subject=task:7 row={row.pk} attempts=1 "
    assert begins.startswith("database unavailable for='worker ")
    assert message in begins
    assert ends.startswith("database available again after_seconds=")


def test_a_decision_names_what_it_decides_on(actor: Declare, lines: Lines) -> None:
    actor(fail, actor_name="send_mail").send_with_options(subject="task:7")
    row = only_row()
    OutboxMessage.objects.all().mark_dead("throws", error="ValueError: x")
    decisions.discard(OutboxMessage.objects.all(), by=Operator(name="alice"), why="not wanted")
    assert lines() == [
        f"dead letter discarded actor=send_mail subject=task:7 row={row.pk} reason='throws' by='alice' why='not wanted'"
    ]


def test_a_decision_on_a_foreign_message_cannot_be_forged(actor: Declare, lines: Lines) -> None:
    actor(fail).send_with_options(subject="task:7 by='root'")
    OutboxMessage.objects.update(actor="x row=1 by='root'")
    OutboxMessage.objects.all().mark_dead("throws", error="ValueError: x")
    decisions.discard(OutboxMessage.objects.all(), by=Operator(name="alice"), why="")
    [line] = lines()
    assert line.startswith("""dead letter discarded actor="x row=1 by='root'" subject="task:7 by='root'" row=""")


def test_a_field_of_a_foreign_message_stays_one_field() -> None:
    line = log_fields(actor="a b\nstate=dead", subject="", row=1, attempt=0, error="x" * 1_000)
    assert line.startswith("actor='a b\\nstate=dead' subject='' row=1 attempts=1 error='xxx")
    assert len(line) < 400
