"""The actors of the activity log: workers find all of them, and each logs its event."""

import logging
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django_dramatiq.management.commands.rundramatiq import Command
from dramatiq.middleware import Retries

from actors.activity import log_task_creation, log_task_deletion, log_task_update
from actors.models import Activity, Event
from actors.outbox.worker.interrupts import LiftableTimeLimit


def test_workers_find_exactly_our_actors() -> None:
    assert Command().discover_tasks_modules() == ["django_dramatiq.setup", "actors.activity", "tasks.activity"]
    of_the_log = {"log_task_creation", "log_task_update", "log_task_deletion"}
    assert dramatiq.get_broker().get_declared_actors() == {*of_the_log, "delete_user"}


@pytest.mark.django_db
def test_a_creation_is_logged_word_for_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="actors.activity")
    log_task_creation(1, "Yangi vazifa", "user1")
    assert caplog.messages == ["[Dramatiq] Yangi vazifa yaratildi: Yangi vazifa (ID: 1, Owner: user1)"]
    assert Activity.objects.values_list("event", "task_id", "title", "owner").get() == (
        "task.created",
        1,
        "Yangi vazifa",
        "user1",
    )


@pytest.mark.django_db
def test_a_large_id_is_written_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="actors.activity")
    log_task_creation(1234567, "100 %s", "user1")
    assert caplog.messages == ["[Dramatiq] Yangi vazifa yaratildi: 100 %s (ID: 1234567, Owner: user1)"]


@pytest.mark.django_db
def test_what_older_messages_lack_is_left_open() -> None:
    log_task_creation(1, "Yangi vazifa", "user1")
    row = Activity.objects.get()
    assert (row.version, row.owner_id, row.changes) == (1, None, {})
    assert (row.changed_by, row.changed_by_id, row.request_id, row.message_id) == ("system", None, "", None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("actor", "event"), [(log_task_update, Event.TASK_UPDATED), (log_task_deletion, Event.TASK_DELETED)]
)
def test_a_later_change_is_logged_with_its_details_and_its_line_is_not_a_workers(
    caplog: pytest.LogCaptureFixture, actor: Callable[..., Any], event: Event
) -> None:
    caplog.set_level(logging.INFO, logger="actors.activity")
    actor(1, "Yangi vazifa", "user1", {"owner_id": 7, "version": 2, "changes": {"completed": [False, True]}})
    assert caplog.messages == []
    row = Activity.objects.get()
    assert (row.event, row.task_id, row.title, row.owner) == (event, 1, "Yangi vazifa", "user1")
    assert (row.owner_id, row.version, row.changes) == (7, 2, {"completed": [False, True]})


def test_retries_are_on_and_time_limit_does_not_strike_inside_them() -> None:
    middleware = [type(one) for one in dramatiq.get_broker().middleware]
    assert any(issubclass(one, Retries) for one in middleware)
    assert middleware[-1] is LiftableTimeLimit
