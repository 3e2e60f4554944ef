"""Whatever a token claims, with a right signature, it is answered with 401 in the usual form, and never with 500."""

import json
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User

from project.accounts.models import TokenFamily
from project.accounts.tokens.keys import signing_key
from tests.tokens import access_token, refresh_token
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

MISSING = object()
ODD: list[Any] = [MISSING, None, True, False, [], {}, [1], {"a": 1}, "", "1 OR 1", "-1", " ", "\0", "𝟙x", "1" * 5_000]
ODD += [-1, 0, 1.5, 2**63, 10**30, 10**400, "9999999999", "NaN"]
# What JSON cannot say, but Python's parser reads.
NO_JSON = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"]
CLAIMS = ["exp", "user_id", "token_type", "jti", "family"]
TIMES = ["iat", "nbf"]


def signed(claims: dict[str, Any]) -> str:
    """Return a token with these claims; a text in `NO_JSON` is written as it is."""
    text = json.dumps(claims)
    for constant in NO_JSON:
        text = text.replace(f'"bare {constant}"', constant)
    return jwt.api_jws.encode(text.encode(), signing_key(), "HS256")


def answers_to(token: str) -> list[Any]:
    client = SchemaCheckingClient()
    paths = {"refresh/": "refresh", "verify/": "token", "logout/": "token", "logout-everywhere/": "token"}
    return [
        client.get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {token}"),
        *(client.post(f"/api/token/{path}", {field: token}, format="json") for path, field in paths.items()),
    ]


@pytest.mark.parametrize("make", [access_token, refresh_token])
@pytest.mark.parametrize("claim", CLAIMS)
def test_an_odd_claim_is_refused_everywhere(user1: User, claim: str, make: Any) -> None:
    right = make(user1).payload
    values = [*ODD, *(f"bare {constant}" for constant in NO_JSON), {"a": [[[[{}]]]]}]
    for value in values:
        claims = {**right, claim: value}
        if value is MISSING:
            del claims[claim]
        answers = answers_to(signed(claims))
        assert {answer.status_code for answer in answers} == {401}, (claim, value)
        assert all(answer.json()["detail"] for answer in answers)
        assert all(answer["WWW-Authenticate"] == 'Bearer realm="api"' for answer in answers)
    assert not TokenFamily.objects.exclude(ended_at=None).exists()


@pytest.mark.parametrize("claim", TIMES)
@pytest.mark.parametrize("value", ["bare NaN", "bare 1e400", [], {}, "soon", 10**30, None])
def test_an_odd_time_is_no_error_of_the_service(user1: User, claim: str, value: Any) -> None:
    answers = answers_to(signed({**access_token(user1).payload, claim: value}))

    assert {answer.status_code for answer in answers} <= {200, 401}
    assert answers[0].status_code == 401


def test_a_deep_payload_is_refused(user1: User) -> None:
    token = jwt.api_jws.encode(b'{"family": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", signing_key(), "HS256")

    assert {answer.status_code for answer in answers_to(token)} == {401}


@pytest.mark.parametrize("payload", [b"5", b"null", b"[]", b"\xff", b'"user1"', b""])
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    token = jwt.api_jws.encode(payload, signing_key(), "HS256")

    assert {answer.status_code for answer in answers_to(token)} <= {400, 401}


def test_a_token_of_a_release_without_families_is_refused(user1: User, settings: Any) -> None:
    from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

    for kind in (AccessToken, RefreshToken):
        theirs = kind.for_user(user1)
        for token in (str(theirs), signed(theirs.payload)):
            assert {answer.status_code for answer in answers_to(token)} == {401}


@pytest.mark.parametrize("path", ["", "refresh/", "verify/", "logout/", "logout-everywhere/"])
@pytest.mark.parametrize("is_right", [True, False])
def test_no_cache_keeps_an_answer_about_tokens(user1: User, path: str, is_right: bool) -> None:
    token = str(refresh_token(user1)) if is_right else "forged"
    password = "a-password-for-tests" if is_right else "wrong"
    login = {"username": "user1", "password": password}
    body = {"": login, "refresh/": {"refresh": token}}.get(path, {"token": token})

    answer = SchemaCheckingClient().post(f"/api/token/{path}", body, format="json")

    assert answer.status_code == (200 if is_right else 401)
    assert (answer["Cache-Control"], answer["Pragma"]) == ("no-store", "no-cache")
