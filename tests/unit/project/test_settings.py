"""Settings: development needs no variable, production names all missing ones at once, wrong values are errors."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.stack import ROOT

PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "settings.production",
    "SECRET_KEY": secrets.token_hex(32),
    "DATABASE_URL": "postgresql://user:unpublished@127.0.0.1/vazifa",
    "RABBITMQ_URL": "amqp://user:unpublished@127.0.0.1/",
    "ALLOWED_HOSTS": "tasks.example.com",
}
DEVELOPMENT = {"DJANGO_SETTINGS_MODULE": "settings.development"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with only the given environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "ENV_FILE": os.devnull, "LOG_FILE": "", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def setting(name: str, environment: Mapping[str, str]) -> object:
    code = f"import json; from django.conf import settings; print(json.dumps(settings.{name}))"
    return json.loads(run("-c", code, **environment).stdout)


def test_development_needs_no_environment() -> None:
    check = run("manage.py", "check")
    assert (check.returncode, check.stdout) == (0, "System check identified no issues (0 silenced).\n")


def test_production_names_all_that_is_missing_in_one_message() -> None:
    check = run("manage.py", "check", DJANGO_SETTINGS_MODULE="settings.production")
    assert check.returncode == 1
    assert len(check.stderr.splitlines()) == 1
    assert "Missing from the environment: SECRET_KEY, DATABASE_URL, RABBITMQ_URL, ALLOWED_HOSTS." in check.stderr


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "RABBITMQ_URL", "ALLOWED_HOSTS"])
def test_an_empty_variable_is_a_missing_one(name: str) -> None:
    check = run("manage.py", "check", **{**PRODUCTION, name: ""})
    assert f"Missing from the environment: {name}." in check.stderr


def test_production_passes_the_deployment_check_in_silence() -> None:
    check = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert (check.returncode, check.stderr) == (0, "")
    assert check.stdout == "System check identified no issues (0 silenced).\n"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEBUG", "ture", "DEBUG"),
        ("THROTTLE_ANON", "ten an hour", "'ten an hour' is no rate"),
        ("RABBITMQ_URL", "http://localhost", "an address such as amqp://"),
        ("RABBITMQ_URL", "amqp://a/;http://b/", "an address such as amqp://"),
        ("LOG_LANGUAGE", "de", "LOG_LANGUAGE"),
        ("MAX_RETRIES", "many", "MAX_RETRIES"),
        ("ACCESS_LOG", "-", "ACCESS_LOG"),
        ("NUM_PROXIES", "-1", "NUM_PROXIES"),
        ("TRUSTED_PROXIES", "proxy.example.com", "name addresses and networks"),
        ("TRUSTED_PROXIES", "*", "name addresses and networks"),
        ("TRUSTED_PROXIES", "10.0.0.1/24", "has host bits set"),
        ("BEHIND_TLS_PROXY", "True", "BEHIND_TLS_PROXY is replaced by TRUSTED_PROXIES"),
        ("TOKEN_SIGNING_KEY", "short", "a key needs 32 characters or more"),
        ("TOKEN_OLD_SIGNING_KEYS", f"{'long ' * 10},short", "a key needs 32 characters or more"),
        ("ACCESS_TOKEN_MINUTES", "0", "ACCESS_TOKEN_MINUTES"),
        ("TIME_ZONE", "Mars/Olympus", "it must be a time zone's name"),
        ("TIME_ZONE", "../etc/passwd", "it must be a time zone's name"),
    ],
)
def test_a_value_that_means_nothing_is_an_error_that_names_it(name: str, value: str, message: str) -> None:
    check = run("manage.py", "check", **DEVELOPMENT, **{name: value})
    assert check.returncode == 1
    [line] = check.stderr.splitlines()
    assert message in line


def test_the_lessons_time_zone_is_the_default_and_the_environment_changes_it() -> None:
    assert setting("TIME_ZONE", DEVELOPMENT) == "Asia/Tashkent"
    assert setting("TIME_ZONE", {**DEVELOPMENT, "TIME_ZONE": "Europe/Berlin"}) == "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "keys"), [("", []), (",", []), ("a" * 32, ["a" * 32]), (f"{'a' * 32},,{'b' * 64}", ["a" * 32, "b" * 64])]
)
def test_no_empty_key_verifies_tokens(text: str, keys: list[str]) -> None:
    assert setting("TOKEN_OLD_SIGNING_KEYS", DEVELOPMENT | {"TOKEN_OLD_SIGNING_KEYS": text}) == keys


@pytest.mark.parametrize(
    ("url", "query", "given"),
    [
        (
            PRODUCTION["DATABASE_URL"],
            "?currentSchema=tasks&connect_timeout=9",
            {"options": "-c search_path=tasks", "connect_timeout": 9},
        ),
        ("sqlite:///vazifa.sqlite3", "?timeout=9", {"timeout": 9}),
    ],
)
def test_an_option_of_database_url_replaces_that_option_only(url: str, query: str, given: dict[str, object]) -> None:
    plain, own = (
        setting("DATABASES['default']['OPTIONS']", DEVELOPMENT | {"DATABASE_URL": url + each}) for each in ("", query)
    )
    assert isinstance(plain, dict)
    assert own == plain | given != plain


def test_an_option_that_weakens_sqlite_is_reported(tmp_path: Path) -> None:
    weak = "?transaction_mode=DEFERRED&init_command=PRAGMA foreign_keys=OFF; PRAGMA synchronous=OFF"
    environment = {**DEVELOPMENT, "DATABASE_URL": f"sqlite:///{tmp_path / 'weak.sqlite3'}{weak}"}
    check = run("manage.py", "check", "--database", "default", **environment)
    named = re.findall(r"database's (\w+) is (\w+), not", check.stderr)
    expected = {"transaction_mode": "DEFERRED", "journal_mode": "delete", "synchronous": "0", "foreign_keys": "0"}
    assert dict(named) == expected


@pytest.mark.integration
def test_of_several_hosts_the_one_that_accepts_writes_is_used(postgresql: PrivatePostgresql, closed_port: int) -> None:
    code = "from django.db import connection; cursor = connection.cursor(); cursor.execute('SELECT 1');"
    code += "print(connection.connection.info.port)"
    url = f"postgresql://postgres@/postgres?host=127.0.0.1,127.0.0.1&port={closed_port},{postgresql.port}"
    shown = run("manage.py", "shell", "--no-imports", "-c", code, **DEVELOPMENT, DATABASE_URL=url)
    assert shown.stdout == f"{postgresql.port}\n"
    url += "&options=-c default_transaction_read_only=on"
    refused = run("manage.py", "shell", "--no-imports", "-c", code, **DEVELOPMENT, DATABASE_URL=url)
    assert "session is read-only" in refused.stderr


def test_variables_come_from_an_env_file_and_those_of_the_process_win(tmp_path_factory: pytest.TempPathFactory) -> None:
    env_file = tmp_path_factory.mktemp("env") / "file"
    env_file.write_text("TIME_ZONE=Europe/Berlin\nLOG_LANGUAGE=ru\n")
    environment = {**DEVELOPMENT, "ENV_FILE": str(env_file), "LOG_LANGUAGE": "en"}
    assert setting("TIME_ZONE", environment) == "Europe/Berlin"
    assert setting("LOG_LANGUAGE", environment) == "en"


def test_development_finds_the_rabbitmq_of_make_run_unless_another_is_named(tmp_path: Path) -> None:
    environment = {**DEVELOPMENT, "STATE_DIR": str(tmp_path)}
    urls = ("RABBITMQ_URL", "DRAMATIQ_BROKER['OPTIONS']['url']")
    assert {setting(url, environment) for url in urls} == {"amqp://guest:guest@127.0.0.1:5672/"}
    (tmp_path / "rabbitmq-url").write_text("amqp://vazifa:found@127.0.0.1:5673/\n")
    assert {setting(url, environment) for url in urls} == {"amqp://vazifa:found@127.0.0.1:5673/"}
    environment["RABBITMQ_URL"] = "amqp://named:there@127.0.0.1/"
    assert {setting(url, environment) for url in urls} == {"amqp://named:there@127.0.0.1/"}


@pytest.mark.integration
def test_a_client_that_vanishes_does_not_keep_its_locks_for_ever(postgresql: PrivatePostgresql) -> None:
    code = "from django.db import connection; cursor = connection.cursor();"
    names = ("idle_in_transaction_session_timeout", "client_connection_check_interval", "tcp_keepalives_idle")
    for name in (*names, "search_path"):
        code += f"cursor.execute('SHOW {name}'); print(*cursor.fetchone());"
    url = f"{postgresql.url()}?currentSchema=tasks"
    environment = {**DEVELOPMENT, "DATABASE_URL": url, "TIME_LIMIT_MS": "90000"}
    shown = run("manage.py", "shell", "--no-imports", "-c", code, **environment)
    assert (shown.stdout.split(), shown.stderr) == (["2min", "5s", "15", "tasks"], "")
