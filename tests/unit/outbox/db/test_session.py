"""The settings of each new PostgreSQL session, and what is reported where others are in force."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import checks
from django.db import DatabaseError, connection
from pytest_django import Settings

from actors.outbox.checks import check_session
from actors.outbox.db import session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

# The tests' PostgreSQL is fast in place of durable.
NOT_DURABLE = {"fsync", "full_page_writes", "synchronous_commit"}

SetDefault = Callable[[str, str], None]
SetOption = Callable[[str, Any], None]


@pytest.fixture
def set_option() -> Iterator[SetOption]:
    """Set one of `OPTIONS` of the database, and connect anew."""
    options = connection.settings_dict["OPTIONS"]
    before = dict(options)

    def set_one(name: str, value: Any) -> None:
        options[name] = value
        connection.close()

    yield set_one
    options.clear()
    options.update(before)
    connection.close()


def show(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


def reported() -> set[str]:
    """Return the names of the settings that the check warns of."""
    found = check_session(databases=["default"])
    assert all(each.level == checks.WARNING and each.hint for each in found)
    return {each.msg.removeprefix("The database's ").split(" is ")[0] for each in found}


def test_the_check_is_run_only_for_the_database_that_it_is_about() -> None:
    assert check_session(databases=None) == check_session(databases=["other"]) == []
    registered: list[object] = list(checks.registry.registry.get_checks())
    assert check_session in registered


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_statement_outside_a_transaction_is_read_committed_too(
    postgresql_default: SetDefault, isolation: str
) -> None:
    postgresql_default("default_transaction_isolation", isolation)
    assert show("transaction_isolation") == "read committed"


def test_settings_of_the_role_and_of_the_database_yield(postgresql_default: SetDefault) -> None:
    postgresql_default("plan_cache_mode", "force_generic_plan")
    postgresql_default("idle_in_transaction_session_timeout", "1s")
    assert (show("plan_cache_mode"), show("idle_in_transaction_session_timeout")) == ("force_custom_plan", "90s")
    assert reported() == NOT_DURABLE


@pytest.mark.parametrize("options", ["-c plan_cache_mode=auto", "-cplan_cache_mode=auto", "--plan-cache-mode=auto"])
def test_an_explicit_start_up_parameter_stays_and_is_reported(
    database: str, set_option: SetOption, options: str
) -> None:
    if database == "sqlite":
        pytest.skip("SQLite has no start-up parameters")
    set_option("options", f"{options} -c search_path=mine")
    assert (show("plan_cache_mode"), show("search_path")) == ("auto", "mine")
    assert show("transaction_isolation") == "read committed"
    assert reported() == {*NOT_DURABLE, "plan_cache_mode"}


def test_no_statement_runs_in_a_session_whose_settings_were_refused(database: str, settings: Settings) -> None:
    if database == "sqlite":
        pytest.skip("SQLite has no such settings")
    connection.close()
    settings.OUTBOX_POSTGRESQL_SESSION = {"no_such_setting": 1}
    for _ in range(2):
        with pytest.raises(DatabaseError, match="no_such_setting"):
            show("search_path")


def test_the_start_of_a_process_logs_what_the_check_reports(caplog: pytest.LogCaptureFixture) -> None:
    found = check_session(databases=["default"])
    with caplog.at_level(logging.INFO, logger="actors.outbox"):
        session.report()
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (each.level, f"{each.msg} {each.hint}") for each in found
    ]


def test_a_database_that_is_away_is_an_error_in_words(database_away: None) -> None:
    [error] = check_session(databases=["default"])
    assert (error.id, error.level) == ("outbox.E007", checks.ERROR)
    assert "unavailable" in error.msg
