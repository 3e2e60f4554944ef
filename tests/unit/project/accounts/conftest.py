"""The login doors, strict limits, a clock, and what is computed behind the doors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.models import User
from django.test import Client
from django.test.client import MULTIPART_CONTENT

from project.accounts import login_limits
from tests.conftest import PASSWORD

HOUR = 3_600
WRONG = "wrong"
# Wrong passwords: of an address for an account, of an address, for an account.
PAIR, ADDRESS, ACCOUNT = 3, 6, 8


class Clock:
    """A clock that stands still until it is moved."""

    now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Door:
    """A place where clients send passwords."""

    path: str
    # What tells a wrong password from a right one.
    wrong: int
    right: int

    content_type: str = MULTIPART_CONTENT

    def knock(
        self, username: str = "user1", password: str = WRONG, *, address: str = "192.0.2.1", **headers: Any
    ) -> Any:
        credentials = {"username": username, "password": password}
        client = Client(raise_request_exception=False, REMOTE_ADDR=address)
        return client.post(self.path, credentials, self.content_type, **headers)


DOORS = [
    Door("/api/token/", 401, 200, "application/json"),
    Door("/admin/login/", 200, 302),
    Door("/api-auth/login/", 200, 302),
]


@pytest.fixture(params=DOORS, ids=lambda door: door.path)
def door(request: pytest.FixtureRequest) -> Door:
    found: Door = request.param
    return found


@pytest.fixture
def token_door() -> Door:
    return DOORS[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(login_limits, "now", clock)
    return clock


@pytest.fixture
def limits(settings: Any, clock: Clock) -> dict[str, tuple[int, int]]:
    """Few attempts an hour."""
    settings.LOGIN_LIMITS = {
        "account and address": (PAIR, HOUR),
        "address": (ADDRESS, HOUR),
        "account": (ACCOUNT, HOUR),
    }
    return dict(settings.LOGIN_LIMITS)


@pytest.fixture
def account(database: str, db: None) -> User:
    """A superuser, so that each door opens."""
    return User.objects.create_superuser("user1", password=PASSWORD)


@dataclass
class Hashes:
    """The hashes that were computed; `before` is called before each."""

    computed: list[str] = field(default_factory=list)
    before: Callable[[], object] = lambda: None


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    """Watch the hasher."""
    watched = Hashes()
    encode = hashers.MD5PasswordHasher.encode

    def counted(hasher: hashers.MD5PasswordHasher, password: str, salt: str, *rest: Any) -> str:
        watched.before()
        watched.computed.append(password)
        return encode(hasher, password, salt, *rest)

    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", counted)
    return watched
