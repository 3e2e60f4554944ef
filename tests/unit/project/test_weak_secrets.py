"""Production starts with no key and no password that protects nothing, and says how to make a good one."""

import re
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from settings.environment import BadSetting
from settings.weak_secrets import (
    COMMAND,
    MIN_KEY_LENGTH,
    refuse_weak_secrets,
    weakness_of_address,
    weakness_of_key,
)
from tests.unit.project.test_settings import PRODUCTION, run

ROOT = Path(__file__).resolve().parents[3]
WRITTEN_KEY = re.compile(r"SECRET_KEY[\"']?(?:\]| =|:|,)\s*(?:env\.str\(\"SECRET_KEY\", )?\"([^\"{}$]{12,})\"")
WRITTEN_ADDRESS = re.compile(r"\b(?:amqps?|postgres(?:ql)?|redis)://[\w.-]*:[\w.-]+@[\w.-]+")
# Of the build and of `make lint`, which connect to nothing.
UNUSED = {"used"}


def texts() -> dict[str, str]:
    """Return the text of each file of the repository, except for tests of this refusal."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [name for name in listed.splitlines() if not name.endswith((".mo", ".svg", Path(__file__).name))]
    return {name: (ROOT / name).read_text("utf-8") for name in paths if (ROOT / name).is_file()}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("unused", "6 characters"),
        pytest.param(secrets.token_hex(MIN_KEY_LENGTH // 2)[1:], "49 characters", id="random, too short"),
        pytest.param("django-insecure-" + secrets.token_hex(32), "django-insecure-", id="random, of a template"),
        ("ab" * 40, "2 different characters"),
        ("abcdefghij" * 6, "repeats"),
        (("correct-horse-battery-staple-" * 2), "repeats"),
        ("for-development-on-loopback-only-never-for-anything-that-others-can-reach", "published"),
    ],
)
def test_a_weak_key_is_refused_with_its_variable_and_the_command_for_a_good_one(key: str, reason: str) -> None:
    with pytest.raises(BadSetting) as refused:
        refuse_weak_secrets(keys=[("SECRET_KEY", key)], passwords={})
    assert "SECRET_KEY" in str(refused.value)
    assert reason in str(refused.value)
    assert str(refused.value).endswith(COMMAND)


@pytest.mark.parametrize("make", [lambda: secrets.token_hex(32), lambda: secrets.token_urlsafe(48)])
def test_a_random_key_is_good(make: Callable[[], str]) -> None:
    assert [weakness_of_key(make()) for _ in range(200)] == [""] * 200


@pytest.mark.parametrize(
    "address",
    [
        "amqp://guest:guest@rabbit.example.com/",
        "amqp://rabbit.example.com/",  # pika's user is then guest
        "amqp://vazifa:g%75est@rabbit/",
        "amqp://vazifa:good-one@one/;amqp://vazifa:password@two/",
        "postgres://postgres:postgres@db/vazifa",
        "redis://:secret@cache:6379/0",
    ],
)
def test_a_published_password_in_an_address_is_refused(address: str) -> None:
    assert weakness_of_address(address)


@pytest.mark.parametrize(
    "address", ["", "sqlite:///var/db.sqlite3", "postgres://vazifa@/vazifa", "redis://cache/0", "amqp://v:Xq2@r/"]
)
def test_an_address_with_another_password_or_none_is_not(address: str) -> None:
    assert weakness_of_address(address) == ""


def test_production_does_not_start_with_weak_secrets_and_names_all_without_showing_them() -> None:
    old = f"{secrets.token_hex(32)},{'hunter22' * 8}"
    weak = {"SECRET_KEY": "hunter22", "RABBITMQ_URL": "amqp://guest:guest@127.0.0.1/", "TOKEN_OLD_SIGNING_KEYS": old}
    check = run("manage.py", "check", **{**PRODUCTION, **weak})
    assert check.returncode == 1
    [error] = check.stderr.splitlines()
    assert error.startswith("Weak in the environment: SECRET_KEY has 8")
    assert "; TOKEN_OLD_SIGNING_KEYS has 7 different characters" in error
    assert "; RABBITMQ_URL has a password that is published" in error
    assert "hunter22" not in check.stderr
    assert "guest:guest" not in error


def test_every_key_that_stands_in_the_repository_is_refused() -> None:
    found = {key for text in texts().values() for key in WRITTEN_KEY.findall(text)}
    assert len(found) >= 2  # development's and that of the tests
    assert {key for key in found if not weakness_of_key(key)} == set()


def test_every_password_of_an_address_that_is_shown_is_refused() -> None:
    shown = [text for name, text in texts().items() if not name.startswith("tests/")]
    found = {address for text in shown for address in WRITTEN_ADDRESS.findall(text)}
    assert len(found) >= 5
    strong = {address for address in found if not weakness_of_address(address)}
    assert {address for address in strong if address.split(":")[2].partition("@")[0] not in UNUSED} == set()
