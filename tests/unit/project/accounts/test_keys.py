"""Tokens are signed with a key of their own, which can be replaced without signing anyone out."""

import secrets
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from project.accounts.tokens.keys import signing_key
from project.api import authentication
from tests.tokens import refresh_token
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = pytest.mark.django_db

OLD, OLDER, NEW = ("old " * 10, "older " * 10, "new " * 10)


@pytest.fixture(autouse=True)
def forget_signatures() -> Iterator[None]:
    authentication._verified.cache_clear()
    yield
    authentication._verified.cache_clear()


def answers_to(refresh: Any) -> list[int]:
    """Return how the tokens of a sign-in are answered."""
    authentication._verified.cache_clear()  # as a new process knows none
    client = SchemaCheckingClient()
    answers = [
        client.get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {refresh['access']}"),
        client.post("/api/token/verify/", {"token": refresh["access"]}, format="json"),
        client.post("/api/token/refresh/", {"refresh": refresh["refresh"]}, format="json"),
    ]
    return [answer.status_code for answer in answers]


def pair(user: User) -> dict[str, str]:
    token = refresh_token(user)
    return {"refresh": str(token), "access": str(token.access_token)}


def test_the_key_is_derived_from_the_secret_key_and_is_not_it(user1: User, settings: Settings) -> None:
    tokens = pair(user1)

    assert len(signing_key()) == 64
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(tokens["access"], settings.SECRET_KEY, ["HS256"])
    assert answers_to(tokens) == [200, 200, 200]
    settings.SECRET_KEY = secrets.token_hex(32)
    assert answers_to(pair(user1)) == [200, 200, 200]
    assert answers_to(tokens) == [401, 401, 401]


def test_a_key_of_its_own_signs(user1: User, settings: Settings) -> None:
    settings.TOKEN_SIGNING_KEY = OLD
    tokens = pair(user1)

    assert jwt.decode(tokens["access"], OLD, ["HS256"])["token_type"] == "access"
    settings.SECRET_KEY = secrets.token_hex(32)
    assert answers_to(tokens) == [200, 200, 200]


def test_an_old_key_verifies_as_long_as_it_is_named(user1: User, settings: Settings) -> None:
    settings.TOKEN_SIGNING_KEY = OLD
    tokens, later = pair(user1), pair(user1)

    settings.TOKEN_SIGNING_KEY, settings.TOKEN_OLD_SIGNING_KEYS = NEW, [OLDER, OLD]
    assert answers_to(tokens) == [200, 200, 200]
    assert jwt.decode(pair(user1)["refresh"], NEW, ["HS256"])["token_type"] == "refresh"

    settings.TOKEN_OLD_SIGNING_KEYS = [OLDER]
    assert answers_to(later) == [401, 401, 401]


@pytest.mark.parametrize("others", [[], [OLDER], [OLDER, OLD]])
def test_an_expired_token_is_said_to_be_expired_whichever_key_signed_it(
    user1: User, settings: Settings, others: list[str]
) -> None:
    settings.TOKEN_OLD_SIGNING_KEYS = others
    token = refresh_token(user1)
    token["exp"] = 1
    for key in (signing_key(), *others):
        text = jwt.encode(token.payload, key, "HS256")
        answer = SchemaCheckingClient().post("/api/token/refresh/", {"refresh": text}, format="json")
        assert (answer.status_code, answer.json()["detail"]) == (401, "Token is expired")
