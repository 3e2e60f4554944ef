"""Throttles: requests up to the limit; all of them while the cache that counts them is unavailable."""

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from project.api.throttles import AnonRateThrottle, UserRateThrottle
from tests.tokens import bearer
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = pytest.mark.django_db

HOUR = 3600  # seconds


class Clock:
    """A clock that stands still until it is moved."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(SimpleRateThrottle, "timer", staticmethod(clock))
    return clock


@pytest.fixture(autouse=True)
def lessons_rates(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[None]:
    """The rates of the lesson, nothing counted yet."""
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"anon": "10/hour", "user": "20/hour"})
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def visitor() -> SchemaCheckingClient:
    return SchemaCheckingClient()


def signed_in(user: User) -> SchemaCheckingClient:
    client = SchemaCheckingClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user))
    return client


def statuses(client: SchemaCheckingClient, number: int, address: str = "/tasks/", **headers: Any) -> list[int]:
    return [client.get(address, **headers).status_code for _ in range(number)]


def test_the_service_uses_throttles_that_outlive_their_cache() -> None:
    assert list(APIView.throttle_classes) == [AnonRateThrottle, UserRateThrottle]


def test_the_11th_request_of_an_unsigned_client_within_an_hour_is_one_too_many(visitor: SchemaCheckingClient) -> None:
    assert statuses(visitor, 12, "/") == [200] * 10 + [429] * 2


def test_the_21st_request_of_a_user_within_an_hour_is_one_too_many(user1: User) -> None:
    assert statuses(signed_in(user1), 22) == [200] * 20 + [429] * 2


def test_one_request_too_many_is_answered_with_how_long_to_wait(visitor: SchemaCheckingClient, clock: Clock) -> None:
    statuses(visitor, 10, "/")
    clock.now += 600

    answer = visitor.get("/")

    assert answer.status_code == 429
    assert answer["Retry-After"] == "3000"
    assert answer.json() == {"detail": "Request was throttled. Expected available in 3000 seconds."}


def test_after_an_hour_a_client_may_ask_again(visitor: SchemaCheckingClient, clock: Clock) -> None:
    statuses(visitor, 11, "/")
    clock.now += HOUR

    assert statuses(visitor, 1, "/") == [200]


def test_the_limit_is_one_for_the_whole_service(visitor: SchemaCheckingClient) -> None:
    wrong = json.dumps({"username": "user1", "password": "wrong"})
    for _ in range(5):
        assert visitor.post("/api/token/", wrong, content_type="application/json").status_code == 401
    statuses(visitor, 5, "/")

    assert visitor.post("/api/token/", wrong, content_type="application/json").status_code == 429
    assert statuses(visitor, 1, "/api/schema/") == [429]


def test_each_user_has_a_limit_of_their_own(user1: User, user2: User, visitor: SchemaCheckingClient) -> None:
    assert statuses(signed_in(user1), 21)[-1] == 429
    assert statuses(signed_in(user2), 1) == [200]
    assert statuses(visitor, 1, "/") == [200]


def test_the_limit_of_users_does_not_keep_clients_from_signing_in(
    visitor: SchemaCheckingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"anon": "60/hour", "user": "20/hour"})

    assert statuses(visitor, 21, "/") == [200] * 21


def test_a_new_token_buys_no_new_limit(user1: User) -> None:
    assert statuses(signed_in(user1), 21)[-1] == 429
    assert statuses(signed_in(user1), 1) == [429]


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_CLIENT_IP"])
def test_an_address_of_ones_own_choice_buys_no_new_limit(visitor: SchemaCheckingClient, header: str) -> None:
    answers = [status for n in range(11) for status in statuses(visitor, 1, "/", **{header: f"10.0.0.{n}"})]

    assert answers == [200] * 10 + [429]


def test_another_address_has_a_limit_of_its_own(visitor: SchemaCheckingClient) -> None:
    assert statuses(visitor, 11, "/")[-1] == 429
    assert statuses(visitor, 1, "/", REMOTE_ADDR="10.0.0.2") == [200]


@pytest.mark.parametrize("headers", [{}, {"HTTP_AUTHORIZATION": "Bearer a.b.c"}], ids=["no token", "a forged token"])
def test_what_is_refused_for_want_of_a_token_is_not_counted(
    visitor: SchemaCheckingClient, headers: dict[str, str]
) -> None:
    # DRF checks permissions first and counts then; such a request has cost no query.
    assert statuses(visitor, 12, **headers) == [401] * 12
    assert statuses(visitor, 1, "/") == [200]


@pytest.mark.parametrize("address", ["/health/live/", "/health/ready/"])
def test_probes_are_not_counted(visitor: SchemaCheckingClient, address: str) -> None:
    assert statuses(visitor, 30, address) == [200] * 30


@pytest.fixture
def cache_away(settings: Any) -> Iterator[None]:
    """A cache that refuses every connection: its port is taken, and no socket listens on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": address}}
        yield
        del settings.CACHES


def test_without_its_cache_the_service_serves_and_says_so(
    cache_away: None, user1: User, visitor: SchemaCheckingClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert statuses(visitor, 12, "/") == [200] * 12
    assert statuses(signed_in(user1), 22) == [200] * 22

    logged = [record for record in caplog.records if record.name == "project.api.throttles"]
    assert {record.levelno for record in logged} == {logging.WARNING}
    assert all(record.getMessage().startswith("request not counted: cache unavailable") for record in logged)
    assert not any(record.exc_info for record in logged)
