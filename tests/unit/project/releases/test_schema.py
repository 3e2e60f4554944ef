"""What a process says and does whose database has other migrations than its code."""

import logging
from collections.abc import Iterator

import pytest
from django.core import checks
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from project.releases import schema
from project.releases.schema import check_migrations, difference, require_migrations

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

[LAST] = MigrationLoader(None).graph.leaf_nodes("tasks")
NEXT = ("tasks", "0999_next")


@pytest.fixture
def behind() -> Iterator[None]:
    """A database that lacks a migration of this code."""
    MigrationRecorder(connection).record_unapplied(*LAST)
    yield
    MigrationRecorder(connection).record_applied(*LAST)


@pytest.fixture
def ahead() -> Iterator[None]:
    """A database on which the next release's migrations have run, and those of an application that is not ours."""
    added = [NEXT, ("elsewhere", "0001_initial")]
    for key in added:
        MigrationRecorder(connection).record_applied(*key)
    yield
    for key in added:
        MigrationRecorder(connection).record_unapplied(*key)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer."""

    def refuse(*arguments: object) -> None:
        raise OperationalError("no route to host")

    monkeypatch.setattr(schema, "MigrationLoader", refuse)


def test_nothing_is_said_of_a_database_that_is_as_the_code(caplog: pytest.LogCaptureFixture) -> None:
    require_migrations()
    assert caplog.records == []
    assert check_migrations(databases=["default"]) == []


@pytest.mark.usefixtures("behind")
def test_a_process_does_not_start_on_a_database_that_lacks_a_migration(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        require_migrations()
    assert ended.value.code == schema.NOT_STARTED
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.getMessage() == f"not started: the database lacks tasks.{LAST[1]}. {schema.HINT}"
    [warning] = check_migrations(databases=["default"])
    assert (warning.id, warning.level, warning.hint) == ("vazifa.W003", checks.WARNING, schema.HINT)
    assert f"tasks.{LAST[1]}" in warning.msg


@pytest.mark.usefixtures("ahead")
def test_a_process_starts_on_the_next_release_s_database(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        require_migrations()
    [record] = caplog.records
    assert record.getMessage() == "the database has migrations of a later release: tasks.0999_next"
    assert difference() == ([], ["tasks.0999_next"])
    [info] = check_migrations(databases=["default"])
    assert (info.id, info.level) == ("vazifa.I001", checks.INFO)


@pytest.mark.usefixtures("away")
def test_an_unavailable_database_keeps_no_process_from_starting() -> None:
    require_migrations()
    assert check_migrations(databases=["default"]) == []


def test_the_check_is_run_only_for_the_database_that_it_is_about() -> None:
    assert check_migrations(databases=None) == check_migrations(databases=["other"]) == []
    registered: list[object] = list(checks.registry.registry.get_checks())
    assert check_migrations in registered
