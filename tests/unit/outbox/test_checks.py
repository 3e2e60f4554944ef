"""Checks refuse a configuration with which the outbox's guarantees would not hold, with a hint what to do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.conf import settings as django_settings
from django.core import checks
from django_dramatiq.middleware import AdminMiddleware, DbConnectionsMiddleware
from dramatiq import Middleware
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from dramatiq.rate_limits.backends import StubBackend
from pytest_django import Settings

from actors.outbox.broker import OutboxStubBroker
from actors.outbox.checks import check_broker
from actors.outbox.middleware import OutboxMiddleware
from actors.outbox.worker.interrupts import NO_GEVENT, LiftableShutdown, LiftableTimeLimit
from actors.outbox.worker.limits import UNLIMITED, max_unacked_seconds, prefetch_of, repair_after_seconds
from actors.outbox.worker.retries import OutboxRetries

Declare = Callable[..., OutboxStubBroker]

GEVENT_MONKEY = """
saved = {}
def patch_all():
    saved["threading"] = {}
def is_module_patched(name):
    return False
"""


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Make a broker of a middleware, and of an actor for each of some queues."""

    def make(middleware: list[Middleware], *, queues: int = 1, **options: Any) -> OutboxStubBroker:
        broker = OutboxStubBroker(middleware=middleware)
        for number in range(queues):
            name = f"checked_{number}"
            dramatiq.actor(broker=broker, actor_name=name, queue_name=name, **options)(lambda: None)
        monkeypatch.setattr(dramatiq, "get_broker", lambda: broker)
        return broker

    return make


def good(*more: Middleware, time_limit_ms: float = 60_000) -> list[Middleware]:
    first = [DbConnectionsMiddleware(), AgeLimit(), LiftableShutdown(), CurrentMessage()]
    return [*first, OutboxRetries(), OutboxMiddleware(), *more, LiftableTimeLimit(time_limit=time_limit_ms)]


def ids() -> list[str]:
    errors = check_broker()
    assert all(error.hint and error.level == checks.ERROR for error in errors)
    return [str(error.id) for error in errors]


def test_the_services_own_configuration_has_nothing_against_it() -> None:
    assert check_broker() == []
    registered: list[object] = list(checks.registry.registry.get_checks())
    assert check_broker in registered


def test_a_good_configuration_has_nothing_against_it(brokers: Declare) -> None:
    brokers(good())
    assert ids() == []


def test_e001_a_message_could_stay_longer_than_rabbitmq_waits(brokers: Declare, settings: Settings) -> None:
    brokers(good(time_limit_ms=600_000))
    settings.OUTBOX_CONSUMER_TIMEOUT_SECONDS = 1_801
    assert ids() == []
    settings.OUTBOX_CONSUMER_TIMEOUT_SECONDS = 1_800
    [error] = check_broker()
    assert error.id == "outbox.E001"
    # An operator of another project has no variables of this one's.
    assert all(setting in str(error.hint) for setting in ("OUTBOX_TIME_LIMIT_MS", "OUTBOX_CONSUMER_TIMEOUT_SECONDS"))


def test_e001_an_actor_of_its_own_limit_is_counted(brokers: Declare) -> None:
    brokers(good(), time_limit=3_600_000)
    assert ids() == ["outbox.E001"]


def test_e001_an_actor_without_a_limit_is_refused(brokers: Declare) -> None:
    brokers(good()[:-1])
    assert ids() == ["outbox.E001", "outbox.E002"]


@pytest.mark.parametrize("missing", [type(one) for one in good()])
def test_e002_none_of_the_middleware_may_be_missing(brokers: Declare, missing: type[Middleware]) -> None:
    brokers([one for one in good() if not isinstance(one, missing)])
    error = check_broker()[-1]
    assert (error.id, error.msg) == (
        "outbox.E002",
        f'{missing.__name__} is missing from DRAMATIQ_BROKER["MIDDLEWARE"].',
    )
    assert f"{missing.__module__}.{missing.__name__}" in str(error.hint)


@pytest.mark.parametrize("double", [OutboxMiddleware, OutboxRetries])
def test_e002_none_of_it_may_be_there_twice(brokers: Declare, double: type[Middleware]) -> None:
    brokers(good(double()))
    [error] = check_broker()
    assert (error.id, error.msg) == (
        "outbox.E002",
        f'{double.__name__} is 2 times in DRAMATIQ_BROKER["MIDDLEWARE"].',
    )


def test_e003_the_time_limit_must_come_last(brokers: Declare) -> None:
    brokers([*good(), Middleware()])
    assert ids() == ["outbox.E003"]


@pytest.mark.parametrize(
    "stock",
    [
        Retries(),
        Pipelines(),
        Callbacks(),
        GroupCallbacks(StubBackend()),
        AdminMiddleware(),
        TimeLimit(time_limit=1_000),
        ShutdownNotifications(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_e004_what_the_outbox_does_itself_must_not_be_there(brokers: Declare, stock: Middleware) -> None:
    brokers(good(stock))
    assert ids() == ["outbox.E004"]


def test_e005_the_broker_must_be_the_outboxs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dramatiq, "get_broker", lambda: StubBroker(middleware=good()))
    assert ids() == ["outbox.E005"]


@pytest.mark.parametrize("option", ["on_success", "on_failure", "on_retry_exhausted"])
def test_e008_a_callback_that_names_no_actor_is_refused(brokers: Declare, option: str) -> None:
    broker = brokers(good(), **{option: "checked_0"})
    assert ids() == []
    broker.actors["checked_0"].options[option] = "misspelt"
    [error] = check_broker()
    assert (error.id, error.msg) == (
        "outbox.E008",
        f"The actor checked_0 has {option}='misspelt', which names no actor.",
    )


@pytest.mark.parametrize("command", ["rundramatiq", "check"])
def test_a_worker_with_a_bad_configuration_does_not_start(command: str) -> None:
    variables = {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "settings.development",
        "dramatiq_queue_prefetch": "8000",
    }
    result = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=django_settings.LOCALE_PATHS[0].parent,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "(outbox.E001) A message may sit in a worker for 20020 s" in result.stderr


@pytest.mark.integration
def test_a_worker_under_gevent_does_not_start(tmp_path: Path) -> None:
    # As much of gevent as Dramatiq imports.
    package = tmp_path / "gevent"
    package.mkdir()
    (package / "__init__.py").write_text("def getcurrent(): ...\nclass Timeout(BaseException): ...\n")
    (package / "monkey.py").write_text(GEVENT_MONKEY)
    variables = {"ENV_FILE": os.devnull, "DJANGO_SETTINGS_MODULE": "settings.development", "LOG_FILE": ""}
    result = subprocess.run(
        [sys.executable, "manage.py", "rundramatiq", "--use-gevent", "--processes", "1"],
        cwd=django_settings.LOCALE_PATHS[0].parent,
        env={**os.environ, **variables, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert NO_GEVENT in result.stderr.splitlines()


# How long a message may stay


def test_the_last_of_a_full_worker_waits_for_all_before_it(brokers: Declare) -> None:
    broker = brokers(good(time_limit_ms=10_000))
    assert max_unacked_seconds(broker, threads=8, prefetch=0) == 30
    assert max_unacked_seconds(broker, threads=8, prefetch=80) == 110
    assert max_unacked_seconds(broker, threads=1, prefetch=1) == 20


def test_each_queue_has_messages_waiting_in_the_same_line(brokers: Declare) -> None:
    assert max_unacked_seconds(brokers(good(time_limit_ms=10_000), queues=3), threads=8, prefetch=0) == 70


def test_where_all_actors_return_rows_more_are_taken_ahead_and_along(brokers: Declare) -> None:
    broker = brokers(good(time_limit_ms=10_000), returns_rows=True)
    assert prefetch_of(broker, "checked_0", threads=8, prefetch=0) == 128
    assert prefetch_of(broker, "checked_0", threads=100, prefetch=0) == 200
    assert prefetch_of(broker, "checked_0", threads=8, prefetch=5) == 5
    assert prefetch_of(broker, "unknown", threads=8, prefetch=0) == 16
    # A batch's message that was not begun has waited for the one before it.
    assert max_unacked_seconds(broker, threads=8, prefetch=0) == 128 / 8 * 10 + 10 + 10


def test_the_longest_limit_of_all_actors_counts(brokers: Declare) -> None:
    broker = brokers(good(time_limit_ms=10_000), time_limit=20_000)
    assert max_unacked_seconds(broker, threads=8, prefetch=0) == 60


def test_without_a_time_limit_there_is_no_end(brokers: Declare) -> None:
    assert max_unacked_seconds(brokers([]), threads=8, prefetch=0) == UNLIMITED


def test_repair_waits_a_minute_longer_than_a_message_may_stay(brokers: Declare, settings: Settings) -> None:
    settings.OUTBOX_REPAIR_AFTER_SECONDS = None
    assert repair_after_seconds(brokers(good(time_limit_ms=10_000))) == 30 + 60


def test_repair_waits_no_longer_than_rabbitmq_does(brokers: Declare, settings: Settings) -> None:
    settings.OUTBOX_REPAIR_AFTER_SECONDS = None
    assert repair_after_seconds(brokers([])) == 1_800 + 60


def test_repair_waits_as_long_as_is_configured(brokers: Declare, settings: Settings) -> None:
    settings.OUTBOX_REPAIR_AFTER_SECONDS = 2.0
    assert repair_after_seconds(brokers(good())) == 2.0
