"""The user of a request is read at each request, in one statement; a token's signature is checked once."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient
from rest_framework_simplejwt.exceptions import AuthenticationFailed
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from project.accounts.models import TokenFamily
from project.accounts.tokens import sign_ins
from project.accounts.tokens.kinds import AccessToken
from project.api import authentication
from project.api.authentication import TokenAuthentication
from tasks.models import Task
from tests.tokens import access_token, bearer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]


@pytest.fixture
def client(user1: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user1))
    return client


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)  # no signal is sent


def change_password(user: User) -> None:
    user.set_password("another-password")
    user.save()


def log_out_everywhere(user: User) -> None:
    sign_ins.end_all(user)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (deactivate, "User is inactive"),
        (User.delete, "User not found"),
        (change_password, "The user's password has been changed."),
        (User.set_unusable_password, None),  # not saved: nothing has changed
        (log_out_everywhere, "The sign-in of this token has ended. Sign in again."),
    ],
)
def test_a_change_of_the_user_holds_from_the_next_request_on(
    client: APIClient, user1: User, change: Callable[[User], Any], detail: str | None
) -> None:
    assert client.get("/tasks/").status_code == 200

    change(user1)
    answer = client.get("/tasks/")

    assert answer.status_code == (401 if detail else 200)
    assert answer.json().get("detail") == detail


def test_user_and_family_are_read_by_one_statement_at_each_request(client: APIClient) -> None:
    assert client.get("/activity/").status_code == 200
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/activity/").status_code == 200
        assert len([query for query in queries if "auth_user" in query["sql"]]) == 1
        assert len([query for query in queries if "tokenfamily" in query["sql"]]) == 1


def test_the_user_is_the_one_that_django_reads(user1: User) -> None:
    user1.last_login = datetime.now(UTC)
    user1.save()

    found = verified(access_token(user1)).find().user
    theirs = User.objects.get(pk=user1.pk)

    assert found == theirs
    assert {field.attname: getattr(found, field.attname) for field in User._meta.fields} == {
        field.attname: getattr(theirs, field.attname) for field in User._meta.fields
    }
    assert type(found.is_active) is bool
    assert (found._state.db, found._state.adding) == ("default", False)
    assert not found.get_deferred_fields()


def verified(token: Token) -> AccessToken:
    return AccessToken(str(token))  # type: ignore[arg-type]  # which takes the text of one


def test_a_token_of_another_users_family_is_of_no_use(user1: User, user2: User) -> None:
    token = access_token(user1)
    token["user_id"] = str(user2.pk)

    with pytest.raises(AuthenticationFailed, match="has ended"):
        verified(token).find()


def test_a_signature_is_checked_once(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/tasks/").status_code == 200
    monkeypatch.setattr("jwt.decode", None)

    assert client.get("/tasks/").status_code == 200


def test_a_token_whose_time_is_over_is_refused_though_its_signature_is_known(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/tasks/").status_code == 200
    over = datetime.now(UTC) + api_settings.ACCESS_TOKEN_LIFETIME + timedelta(seconds=1)

    monkeypatch.setattr("project.api.authentication.time.time", over.timestamp)
    monkeypatch.setattr("jwt.api_jwt.datetime", type("Then", (datetime,), {"now": lambda tz=None: over}))
    answer = client.get("/tasks/")

    assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")


def test_no_more_tokens_are_remembered_than_so_many() -> None:
    assert authentication._verified.cache_info().maxsize == authentication.MAX_REMEMBERED


def test_a_token_is_still_valid_until_its_time_is_over_or_its_user_logs_out(user1: User) -> None:
    token, expired = (verified(access_token(user1)) for _ in range(2))
    expired["exp"] = 1

    assert (token.is_still_valid(), expired.is_still_valid()) == (True, False)
    sign_ins.end(token)
    assert not token.is_still_valid()


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_what_is_no_token_is_refused_each_time(token: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    assert [client.get("/tasks/").status_code for _ in range(2)] == [401, 401]


@pytest.mark.parametrize("address", ["/tasks/", "/tasks/bulk/"])
def test_a_user_who_is_deleted_while_their_request_runs_creates_nothing(
    client: APIClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TokenAuthentication.get_user

    def read_and_delete(self: TokenAuthentication, token: Token) -> User:
        user: User = read(self, token)
        TokenFamily.objects.all().delete()
        User.objects.all()._raw_delete("default")
        return user

    monkeypatch.setattr(TokenAuthentication, "get_user", read_and_delete)
    task = {"title": "Yangi vazifa"}
    answer = client.post(address, [task] if address.endswith("bulk/") else task, format="json")

    assert (answer.status_code, answer.json()["detail"]) == (401, "User not found")
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
    assert not Task.objects.exists()


def test_reading_the_user_takes_few_calls(client: APIClient, user1: User) -> None:
    token = verified(access_token(user1))
    token.find()
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        token.find()
    finally:
        sys.setprofile(before)
    assert calls <= 150
