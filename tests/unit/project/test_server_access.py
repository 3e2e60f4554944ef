"""Which servers can be used is asked before workers start, and waited for before `make run` does."""

import logging

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command, get_commands
from django.db import connections
from django_dramatiq.management.commands import rundramatiq
from pytest_django import DjangoDbBlocker, Settings

from actors.outbox.exceptions import AccessRefused
from project import server_access
from project.management.commands import prepare
from project.server_access import LOGINS, log_in_to_cache, log_in_to_database, wait_for
from tests.unit.project.test_settings import DEVELOPMENT, run


class Server:
    """A server that is there from some attempt on, or refuses."""

    def __init__(self, *, attempts: int, is_final: bool = False) -> None:
        self.left, self.is_final, self.asked = attempts, is_final, 0

    def log_in(self) -> None:
        self.asked += 1
        if self.asked <= self.left:
            raise AccessRefused("It refuses.", is_final=self.is_final)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_access, "PAUSE_SECONDS", 0.0)


def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    server = Server(attempts=3)
    wait_for(server.log_in, timeout_seconds=60)
    assert server.asked == 4


@pytest.mark.parametrize(("is_final", "timeout_seconds"), [(True, 60), (False, 0)])
def test_a_refusal_is_final_and_the_wait_has_an_end(is_final: bool, timeout_seconds: float) -> None:
    server = Server(attempts=9, is_final=is_final)
    with pytest.raises(AccessRefused, match=r"It refuses\."):
        wait_for(server.log_in, timeout_seconds=timeout_seconds)
    assert server.asked == 1


def test_an_sqlite_file_that_cannot_be_opened_is_refused(
    monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker
) -> None:
    another = connections.create_connection("default")
    another.settings_dict = {**another.settings_dict, "NAME": "/dev/null/db.sqlite3"}
    monkeypatch.setattr(server_access, "connection", another)
    with (
        django_db_blocker.unblock(),
        pytest.raises(AccessRefused, match=r"/dev/null/db\.sqlite3 cannot be used: unable to open database file\."),
    ):
        log_in_to_database()


def test_a_command_says_in_one_line_that_the_database_cannot_be_used(closed_port: int) -> None:
    url = f"postgres://user:unpublished@127.0.0.1:{closed_port}/tasks"
    status = run("manage.py", "outbox", "status", **DEVELOPMENT, DATABASE_URL=url)
    assert status.returncode == 1
    [line] = status.stderr.splitlines()
    assert line.startswith("The database tasks cannot be used: connection to server at ")
    assert line.endswith(" Start it, or correct DATABASE_URL.")


def test_a_cache_that_does_not_answer_is_refused(settings: Settings, closed_port: int) -> None:
    redis = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": redis, "LOCATION": f"redis://127.0.0.1:{closed_port}/0"}}
    with pytest.raises(AccessRefused, match=rf"127\.0\.0\.1:{closed_port}\. .*correct CACHE_URL\.$") as refused:
        log_in_to_cache()
    assert not refused.value.is_final
    caches["default"].close()


def test_workers_start_after_what_cannot_be_used_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(LOGINS, "DATABASE_URL", lambda: None)
    monkeypatch.setitem(LOGINS, "RABBITMQ_URL", Server(attempts=1, is_final=True).log_in)
    lines: list[str] = []
    monkeypatch.setattr(rundramatiq.Command, "handle", lambda *args, **options: lines.extend(caplog.messages))
    with caplog.at_level(logging.ERROR, logger="project.server_access"):
        call_command("rundramatiq", skip_checks=True)
    assert lines == ["It refuses. Until then this process goes on and tries again."]
    assert get_commands()["rundramatiq"] == "project"


def test_make_run_says_which_variable_it_can_do_without(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DEBUG = True
    monkeypatch.setattr(prepare, "LOGINS", {"CACHE_URL": Server(attempts=1, is_final=True).log_in})
    with pytest.raises(CommandError) as refused:
        call_command("prepare", log_in=True)
    assert str(refused.value) == "It refuses. `make run` needs none if CACHE_URL is not set."
