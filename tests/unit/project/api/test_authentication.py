"""The cache of users: each is read once every few seconds, and never trusted for longer."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken

from project.api.authentication import KnownUsers, known_users
from tasks.models import Task

SECONDS = 5.0


@pytest.fixture(autouse=True)
def cache(settings: Settings) -> Iterator[KnownUsers]:
    settings.USER_CACHE_SECONDS = SECONDS
    known_users.forget()
    yield known_users
    known_users.forget()


@pytest.fixture
def bearer(user1: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {AccessToken.for_user(user1)}")
    return client


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


class Reader:
    """Counts how often a user is read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> User:
        self.count += 1
        return User(username="user1")


class TestKnownUsers:
    def test_a_user_is_read_once_in_their_seconds(self) -> None:
        clock, read = Clock(), Reader()
        known = KnownUsers(clock=clock)

        for clock.seconds in (0.0, SECONDS - 0.1):
            assert known.find(1, read).username == "user1"
        assert read.count == 1

        clock.seconds = SECONDS
        known.find(1, read)
        assert read.count == 2

    def test_each_caller_has_a_user_of_its_own(self) -> None:
        known, read = KnownUsers(clock=Clock()), Reader()

        for _ in range(2):
            known.find(1, read).username = "changed"

        assert known.find(1, read).username == "user1"

    def test_who_is_read_while_users_change_is_not_remembered(self) -> None:
        known, read = KnownUsers(clock=Clock()), Reader()

        def read_meanwhile() -> User:
            known.forget()
            return read()

        known.find(1, read_meanwhile)
        known.find(1, read)

        assert read.count == 2

    def test_it_does_not_grow_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("project.api.authentication.MAX_REMEMBERED", 10)
        known, read = KnownUsers(clock=Clock()), Reader()

        for number in range(25):
            known.find(number, read)

        assert len(known._known) <= 10


@pytest.mark.django_db
class TestRequests:
    def test_the_second_request_does_not_ask_for_the_user(self, bearer: APIClient) -> None:
        asked = []
        for _ in range(2):
            with CaptureQueriesContext(connection) as queries:
                assert bearer.get("/activity/").status_code == 200
            asked.append([query["sql"] for query in queries if "auth_user" in query["sql"]])

        assert (len(asked[0]), len(asked[1])) == (1, 0)

    def test_another_token_of_a_known_user_does_not_ask_for_them(self, bearer: APIClient, user1: User) -> None:
        assert bearer.get("/activity/").status_code == 200
        bearer.credentials(HTTP_AUTHORIZATION=f"Bearer {AccessToken.for_user(user1)}")

        with CaptureQueriesContext(connection) as queries:
            assert bearer.get("/activity/").status_code == 200

        assert not [query["sql"] for query in queries if "auth_user" in query["sql"]]

    def test_a_token_whose_time_is_over_is_refused_though_its_signature_is_known(
        self, bearer: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert bearer.get("/tasks/").status_code == 200
        over = datetime.now(UTC) + api_settings.ACCESS_TOKEN_LIFETIME + timedelta(seconds=1)

        monkeypatch.setattr("project.api.authentication.time.time", over.timestamp)
        monkeypatch.setattr("jwt.api_jwt.datetime", type("Then", (datetime,), {"now": lambda tz=None: over}))
        answer = bearer.get("/tasks/")

        assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")

    def test_a_user_who_is_deactivated_is_shut_out_when_their_seconds_are_over(
        self, bearer: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        monkeypatch.setattr(known_users, "_clock", clock)
        assert bearer.get("/tasks/").status_code == 200
        User.objects.update(is_active=False)  # as another process does: no signal is heard here

        clock.seconds = SECONDS
        answer = bearer.get("/tasks/")

        assert (answer.status_code, answer.json()["detail"]) == (401, "User is inactive")

    def test_this_process_knows_of_what_it_changed_itself(self, bearer: APIClient, user1: User) -> None:
        assert bearer.get("/tasks/").status_code == 200

        user1.is_active = False
        user1.save()

        assert bearer.get("/tasks/").status_code == 401

    @pytest.mark.parametrize("token", ["", "x", "a.b.c"])
    def test_what_is_no_token_is_refused_each_time(self, token: str) -> None:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

        assert [client.get("/tasks/").status_code for _ in range(2)] == [401, 401]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database")
class TestVanished:
    @pytest.mark.parametrize("address", ["/tasks/", "/tasks/bulk/"])
    def test_a_user_who_was_deleted_elsewhere_creates_nothing(self, bearer: APIClient, address: str) -> None:
        assert bearer.get("/tasks/").status_code == 200
        User.objects.all()._raw_delete("default")  # as another process does: no signal is heard here
        task = {"title": "Yangi vazifa"}

        answer = bearer.post(address, [task] if address.endswith("bulk/") else task, format="json")

        assert (answer.status_code, answer.json()["detail"]) == (401, "User not found")
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
        assert not Task.objects.exists()
        assert bearer.get("/tasks/").status_code == 401
