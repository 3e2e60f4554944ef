"""Tokens: issued for a password, refreshed, verified; anything else sent as a token is refused."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import Token

from project.accounts.tokens.keys import signing_key
from tests.conftest import PASSWORD
from tests.tokens import access_token, refresh_token
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

REQUIRED = "This field is required."
ANOTHER_KEY = "a-key-that-is-not-the-service's-own-and-just-as-long-as-it-has-to-be"


@pytest.fixture
def visitor() -> SchemaCheckingClient:
    return SchemaCheckingClient()


def post(client: SchemaCheckingClient, address: str, **body: Any) -> Any:
    return client.post(address, body, format="json")


def tasks_with(client: SchemaCheckingClient, token: object) -> Any:
    return client.get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {token}")


def expired(token: Token) -> Token:
    token.set_exp(lifetime=-timedelta(seconds=1))
    return token


def signed(payload: dict[str, Any], key: str | None = None, algorithm: str = "HS256") -> str:
    return jwt.encode(payload, key or signing_key(), algorithm)


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unsigned(header: object) -> str:
    return f"{part(header)}.{part({'user_id': '1', 'token_type': 'access', 'exp': 9999999999})}."


class TestObtaining:
    def test_a_password_buys_two_tokens(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = post(visitor, "/api/token/", username="user1", password=PASSWORD)

        assert answer.status_code == 200
        assert set(answer.json()) == {"access", "refresh"}
        assert tasks_with(visitor, answer.json()["access"]).status_code == 200

    @pytest.mark.parametrize("path", ["", "refresh/", "verify/", "logout/", "logout-everywhere/"])
    def test_a_field_that_there_is_not_is_named(self, visitor: SchemaCheckingClient, user1: User, path: str) -> None:
        token = str(refresh_token(user1))
        login = {"username": "user1", "password": PASSWORD}
        body = {"": login, "refresh/": {"refresh": token}}.get(path, {"token": token})

        answer = post(visitor, f"/api/token/{path}", **body, remember=True)

        assert (answer.status_code, answer.json()) == (400, {"remember": ["There is no such field."]})
        assert post(visitor, "/api/token/verify/", token=token).status_code == 200
        answer = post(visitor, f"/api/token/{path}", remember=True)
        assert answer.json() == {"remember": ["There is no such field."]} | {name: [REQUIRED] for name in body}

    def test_a_form_is_refused(self, visitor: SchemaCheckingClient, user1: User) -> None:
        form = f"username=user1&password={PASSWORD}"

        answer = visitor.post("/api/token/", form, content_type="application/x-www-form-urlencoded")

        assert (answer.status_code, answer.json()) == (
            415,
            {"detail": "Send JSON, with the header Content-Type: application/json."},
        )

    @pytest.mark.parametrize(
        ("username", "password"),
        [
            ("user1", "wrong"),
            ("user1", PASSWORD.upper()),
            ("nobody", PASSWORD),
            ("USER1", PASSWORD),
            ("user1", "ў" * 999),
        ],
    )
    def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
        self, visitor: SchemaCheckingClient, user1: User, username: str, password: str
    ) -> None:
        answer = post(visitor, "/api/token/", username=username, password=password)

        assert answer.status_code == 401
        assert answer.json() == {"detail": "No active account found with the given credentials"}
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'

    def test_an_inactive_user_gets_none(self, visitor: SchemaCheckingClient, user1: User) -> None:
        User.objects.update(is_active=False)

        answer = post(visitor, "/api/token/", username="user1", password=PASSWORD)

        assert (answer.status_code, answer.json()["detail"]) == (
            401,
            "No active account found with the given credentials",
        )

    def test_the_password_is_not_echoed(self, visitor: SchemaCheckingClient, user1: User) -> None:
        assert "s3cr3t" not in post(visitor, "/api/token/", username="user1", password="s3cr3t").content.decode()


class TestRefreshing:
    def test_a_refresh_token_buys_the_next_two_tokens(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = post(visitor, "/api/token/refresh/", refresh=str(refresh_token(user1)))

        assert (answer.status_code, set(answer.json())) == (200, {"access", "refresh"})
        assert tasks_with(visitor, answer.json()["access"]).status_code == 200

    def test_an_expired_one_does_not(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = post(visitor, "/api/token/refresh/", refresh=str(expired(refresh_token(user1))))

        assert (answer.status_code, answer.json()["detail"]) == (401, "Token is expired")

    def test_an_access_token_does_not(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = post(visitor, "/api/token/refresh/", refresh=str(access_token(user1)))

        assert (answer.status_code, answer.json()["detail"]) == (401, "Token has wrong type")

    def test_that_of_an_inactive_user_does_not(self, visitor: SchemaCheckingClient, user1: User) -> None:
        token = str(refresh_token(user1))
        User.objects.update(is_active=False)

        answer = post(visitor, "/api/token/refresh/", refresh=token)

        assert answer.status_code == 401
        assert "No active account" in answer.json()["detail"]

    def test_that_of_a_deleted_user_does_not(self, visitor: SchemaCheckingClient, user1: User) -> None:
        token = str(refresh_token(user1))
        user1.delete()

        answer = post(visitor, "/api/token/refresh/", refresh=token)

        assert answer.status_code == 401
        assert "No active account" in answer.json()["detail"]


class TestVerifying:
    @pytest.mark.parametrize("make", [access_token, refresh_token])
    def test_a_good_token_is_good(
        self, visitor: SchemaCheckingClient, user1: User, make: Callable[[User], Token]
    ) -> None:
        answer = post(visitor, "/api/token/verify/", token=str(make(user1)))

        assert (answer.status_code, answer.json()) == (200, {})

    def test_an_expired_one_is_not(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = post(visitor, "/api/token/verify/", token=str(expired(access_token(user1))))

        assert (answer.status_code, answer.json()["detail"]) == (401, "Token is expired")

    def test_a_forged_one_is_not(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = post(visitor, "/api/token/verify/", token=signed(access_token(user1).payload, ANOTHER_KEY))

        assert (answer.status_code, answer.json()["detail"]) == (401, "Token is invalid")


class TestUsing:
    def test_the_user_is_the_tokens(self, visitor: SchemaCheckingClient, user1: User, user2: User) -> None:
        answer = visitor.post(
            "/tasks/", {"title": "Yangi"}, format="json", HTTP_AUTHORIZATION=f"Bearer {access_token(user2)}"
        )

        assert (answer.status_code, answer.json()["owner"]) == (201, "user2")

    def test_an_expired_one_opens_nothing(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = tasks_with(visitor, expired(access_token(user1)))

        assert answer.status_code == 401
        assert answer.json()["code"] == "token_not_valid"
        assert answer.json()["messages"][0]["message"] == "Token is expired"
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'

    def test_a_refresh_token_opens_nothing(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = tasks_with(visitor, refresh_token(user1))

        assert (answer.status_code, answer.json()["messages"][0]["message"]) == (401, "Token has wrong type")

    def test_that_of_a_deleted_user_opens_nothing(self, visitor: SchemaCheckingClient, user1: User) -> None:
        token = access_token(user1)
        user1.delete()

        answer = tasks_with(visitor, token)

        assert (answer.status_code, answer.json()["detail"]) == (401, "User not found")

    def test_that_of_an_inactive_user_opens_nothing(self, visitor: SchemaCheckingClient, user1: User) -> None:
        token = access_token(user1)
        User.objects.update(is_active=False)

        answer = tasks_with(visitor, token)

        assert (answer.status_code, answer.json()["detail"]) == (401, "User is inactive")

    def test_one_signed_with_another_key_opens_nothing(self, visitor: SchemaCheckingClient, user1: User) -> None:
        answer = tasks_with(visitor, signed(access_token(user1).payload, ANOTHER_KEY))

        assert (answer.status_code, answer.json()["messages"][0]["message"]) == (401, "Token is invalid")

    def test_one_signed_with_another_algorithm_opens_nothing(self, visitor: SchemaCheckingClient, user1: User) -> None:
        token = signed(access_token(user1).payload, algorithm="HS384")

        assert tasks_with(visitor, token).status_code == 401

    def test_one_that_was_changed_opens_nothing(self, visitor: SchemaCheckingClient, user1: User, user2: User) -> None:
        header, _payload, signature = str(access_token(user1)).split(".")
        _header, payload, _signature = str(access_token(user2)).split(".")

        assert tasks_with(visitor, f"{header}.{payload}.{signature}").status_code == 401

    @pytest.mark.parametrize("missing", ["exp", "user_id", "token_type", "jti", "family"])
    def test_one_that_lacks_something_opens_nothing(
        self, visitor: SchemaCheckingClient, user1: User, missing: str
    ) -> None:
        payload = access_token(user1).payload
        del payload[missing]

        assert tasks_with(visitor, signed(payload)).status_code == 401


ADDRESSES = [
    ("/api/token/refresh/", "refresh"),
    ("/api/token/verify/", "token"),
    ("/api/token/logout/", "token"),
    ("/api/token/logout-everywhere/", "token"),
]

NO_TOKENS = [
    pytest.param("", id="nothing"),
    pytest.param("a", id="a letter"),
    pytest.param("a.b.c", id="three letters"),
    pytest.param("....", id="dots"),
    pytest.param("\xff.\xff.\xff", id="not ASCII"),
    pytest.param("a" * 8000, id="8000 letters"),
    pytest.param(unsigned({"alg": "none"}), id="algorithm none"),
    pytest.param(unsigned({"alg": "None"}), id="algorithm None"),
    pytest.param(unsigned({"alg": 1}), id="algorithm 1"),
    pytest.param(unsigned({"alg": ["HS256"]}), id="a list of algorithms"),
    pytest.param(unsigned({"alg": "HS256", "b64": False}), id="payload detached"),
    pytest.param(unsigned({"alg": "HS256", "kid": 5}), id="a number for a key"),
    pytest.param(unsigned(5), id="a number for a header"),
    pytest.param(unsigned("9" * 5000), id="a long number for a header"),
    pytest.param(unsigned("[" * 6000), id="a deep header"),
    pytest.param(unsigned("\0"), id="NUL for a header"),
]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("token", NO_TOKENS)
def test_what_is_no_token_opens_nothing(visitor: SchemaCheckingClient, token: str, accept: str) -> None:
    answer = visitor.get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_ACCEPT=accept)

    assert answer.status_code == 401
    assert accept == "text/html" or answer.json()["detail"]


@pytest.mark.parametrize(("address", "field"), ADDRESSES)
@pytest.mark.parametrize("token", NO_TOKENS)
def test_what_is_no_token_is_neither_refreshed_nor_verified(
    visitor: SchemaCheckingClient, token: str, address: str, field: str
) -> None:
    answer = post(visitor, address, **{field: token})

    if token:
        assert (answer.status_code, answer.json()["detail"]) == (401, "Token is invalid")
    else:
        assert (answer.status_code, answer.json()) == (400, {field: ["This field may not be blank."]})


@pytest.mark.parametrize(
    "header", ["", " ", "Bearer", "Bearer ", "Bearer a b", "Basic dXNlcjE6eA==", "Token a", "a", "\xff", "Bearer,", "="]
)
def test_a_malformed_header_opens_nothing(visitor: SchemaCheckingClient, header: str) -> None:
    answer = visitor.get("/tasks/", HTTP_AUTHORIZATION=header)

    assert answer.status_code == 401
    assert answer.json()["detail"] in {
        "Authentication credentials were not provided.",
        "Authorization header must contain two space-delimited values",
    }


@pytest.mark.parametrize("value", [None, [], {}, "a\0b", "\ud800"])
@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/api/token/", ["username", "password"]),
        *((address, [field]) for address, field in ADDRESSES),
    ],
)
def test_what_is_no_text_is_refused_by_name(
    visitor: SchemaCheckingClient, address: str, fields: list[str], value: object
) -> None:
    body = dict.fromkeys(fields, value)

    answer = visitor.post(address, json.dumps(body), content_type="application/json")

    assert answer.status_code == 400
    assert fields[0] in answer.json()


@pytest.mark.parametrize("body", ["[]", "5", "null", "{", '"user1"', "[" * 100_000, ""])
@pytest.mark.parametrize("address", ["/api/token/", *(address for address, _field in ADDRESSES)])
def test_what_is_no_json_object_is_refused(visitor: SchemaCheckingClient, address: str, body: str) -> None:
    answer = visitor.post(address, body, content_type="application/json")

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/json"
    assert answer.json()


@pytest.mark.parametrize("address", ["/api/token/", *(address for address, _field in ADDRESSES)])
def test_tokens_are_posted_for(visitor: SchemaCheckingClient, address: str) -> None:
    assert visitor.get(address).status_code == 405


def test_a_username_with_nul_is_refused_with_an_otherwise_good_body(visitor: SchemaCheckingClient) -> None:
    answer = post(visitor, "/api/token/", username="us\0er1", password=PASSWORD)

    assert (answer.status_code, answer.json()) == (400, {"username": ["Null characters are not allowed."]})
