"""A sign-in is kept alive by refresh tokens that are each good for one use, and ends when one is used twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from project.accounts.models import TokenFamily
from project.accounts.tokens import sign_ins
from project.accounts.tokens.families import EndReason
from project.accounts.tokens.kinds import RefreshToken
from project.accounts.tokens.sign_ins import issue
from tests.conftest import PASSWORD
from tests.tokens import access_token
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

ENDED = "The sign-in of this token has ended. Sign in again."
REUSED = "This refresh token was used before, so its sign-in has ended. Sign in again."
CHANGED = "The user's password has been changed."
LOGIN = {"username": "user1", "password": PASSWORD}


@pytest.fixture
def pair(user1: User) -> dict[str, str]:
    """The tokens of a sign-in."""
    answer = ask("", **LOGIN)
    assert answer.status_code == 200
    tokens: dict[str, str] = answer.json()
    return tokens


def ask(name: str, **body: str) -> Any:
    return SchemaCheckingClient().post(f"/api/token/{name}", body, format="json")


def refresh(token: str) -> Any:
    return ask("refresh/", refresh=token)


def opens(token: str) -> Any:
    return SchemaCheckingClient().get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {token}")


def are_dead(pair: dict[str, str], detail: str) -> bool:
    """Return whether access, refresh and verify all refuse the tokens, with this text."""
    answers = [
        opens(pair["access"]),
        refresh(pair["refresh"]),
        ask("verify/", token=pair["access"]),
        ask("verify/", token=pair["refresh"]),
        ask("logout-everywhere/", token=pair["refresh"]),
    ]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {(401, detail)}
    return True


def are_alive(pair: dict[str, str]) -> bool:
    answers = [opens(pair["access"]), ask("verify/", token=pair["access"]), ask("verify/", token=pair["refresh"])]
    return [answer.status_code for answer in answers] == [200, 200, 200]


def read(token: RefreshToken) -> RefreshToken:
    """Return a token as it is read from its text."""
    return RefreshToken(str(token))  # type: ignore[arg-type]


def why_ended() -> list[str]:
    return list(TokenFamily.objects.exclude(ended_at=None).values_list("end_reason", flat=True))


class TestRefreshing:
    def test_each_refresh_answers_with_the_refresh_token_for_the_next(self, pair: dict[str, str]) -> None:
        for _ in range(3):
            answer = refresh(pair["refresh"])
            assert (answer.status_code, set(answer.json())) == (200, {"access", "refresh"})
            assert answer.json()["refresh"] != pair["refresh"]
            pair = answer.json()
            assert are_alive(pair)
        assert TokenFamily.objects.count() == 1

    def test_a_refresh_token_that_is_used_twice_ends_its_family(self, pair: dict[str, str]) -> None:
        another = ask("", **LOGIN).json()
        fresh = refresh(pair["refresh"]).json()

        answer = refresh(pair["refresh"])

        assert (answer.status_code, answer.json()["detail"]) == (401, REUSED)
        assert are_dead(fresh, ENDED)
        assert opens(pair["access"]).status_code == 401
        assert are_alive(another)
        assert why_ended() == [EndReason.REUSE]

    def test_an_old_one_ends_it_too_however_many_came_after(self, pair: dict[str, str]) -> None:
        fresh = pair
        for _ in range(3):
            fresh = refresh(fresh["refresh"]).json()

        assert refresh(pair["refresh"]).json()["detail"] == REUSED
        assert are_dead(fresh, ENDED)

    def test_verifying_a_used_one_refuses_it_and_ends_nothing(self, pair: dict[str, str]) -> None:
        fresh = refresh(pair["refresh"]).json()

        assert ask("verify/", token=pair["refresh"]).status_code == 401
        assert ask("logout-everywhere/", token=pair["refresh"]).status_code == 401
        assert are_alive(fresh)

    def test_a_refreshed_sign_in_lives_as_long_as_its_new_refresh_token(self, pair: dict[str, str]) -> None:
        TokenFamily.objects.update(expires_at=timezone.now())
        refresh(pair["refresh"])

        family = TokenFamily.objects.get()
        assert family.refreshed_at is not None
        assert family.expires_at > timezone.now() + timedelta(days=6)

    def test_of_parallel_refreshes_one_succeeds_and_the_others_end_the_family(
        self, database: str, pair: dict[str, str]
    ) -> None:
        if database == "sqlite":
            pytest.skip("its database in memory has one connection")
        number = 6
        together = Barrier(number)

        def refresh_together() -> Any:
            try:
                together.wait(30)
                return refresh(pair["refresh"])
            finally:
                connection.close()

        with ThreadPoolExecutor(number) as pool:
            answers = [each.result(60) for each in [pool.submit(refresh_together) for _ in range(number)]]

        [fresh] = [answer.json() for answer in answers if answer.status_code == 200]
        assert [answer.status_code for answer in answers].count(401) == number - 1
        assert are_dead(fresh, ENDED)
        assert why_ended() == [EndReason.REUSE]

    def test_one_whose_family_ends_meanwhile_gets_nothing(
        self, pair: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = sign_ins._refresh_token

        def end_and_make(family: str, user: Any) -> Any:
            TokenFamily.objects.update(ended_at=timezone.now(), end_reason=EndReason.LOGOUT)
            return make(family, user)

        monkeypatch.setattr(sign_ins, "_refresh_token", end_and_make)

        assert refresh(pair["refresh"]).json()["detail"] == ENDED
        assert why_ended() == [EndReason.LOGOUT]


class TestLoggingOut:
    @pytest.mark.parametrize("kind", ["access", "refresh"])
    def test_a_logout_ends_the_sign_in_of_the_token_and_no_other(self, pair: dict[str, str], kind: str) -> None:
        another = ask("", **LOGIN).json()

        answer = ask("logout/", token=pair[kind])

        assert (answer.status_code, answer.json()) == (200, {})
        assert are_dead(pair, ENDED)
        assert are_alive(another)
        assert why_ended() == [EndReason.LOGOUT]

    def test_a_second_logout_is_no_error_and_changes_nothing(self, pair: dict[str, str]) -> None:
        first, again = (
            (ask("logout/", token=pair["refresh"]).status_code, TokenFamily.objects.get().ended_at) for _ in range(2)
        )

        assert first == again
        assert first[0] == 200

    def test_a_used_refresh_token_still_logs_out(self, pair: dict[str, str]) -> None:
        fresh = refresh(pair["refresh"]).json()

        assert ask("logout/", token=pair["refresh"]).status_code == 200
        assert are_dead(fresh, ENDED)

    @pytest.mark.parametrize("kind", ["access", "refresh"])
    def test_a_logout_everywhere_ends_all_of_the_user_and_of_no_other(
        self, pair: dict[str, str], user2: User, kind: str
    ) -> None:
        mine, theirs = ask("", **LOGIN).json(), ask("", **{**LOGIN, "username": "user2"}).json()

        answer = ask("logout-everywhere/", token=pair[kind])

        assert (answer.status_code, answer.json()) == (200, {})
        assert are_dead(pair, ENDED)
        assert are_dead(mine, ENDED)
        assert are_alive(theirs)
        assert are_alive(ask("", **LOGIN).json())
        assert set(why_ended()) == {EndReason.LOGOUT_EVERYWHERE}


def set_password(user: User) -> None:
    user.set_password("another-password")
    user.save(update_fields=["password"])


def set_password_by_a_query(user: User) -> None:
    User.objects.filter(pk=user.pk).update(password="!")


def set_it_in_the_admin(user: User) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    form = {"password1": "a-new-password-1", "password2": "a-new-password-1", "usable_password": "true"}
    assert admin.post(f"/admin/auth/user/{user.pk}/password/", form).status_code == 302


class TestUsers:
    @pytest.mark.parametrize("change", [set_password, set_password_by_a_query, set_it_in_the_admin])
    def test_a_changed_password_ends_all_tokens(
        self, pair: dict[str, str], user1: User, change: Callable[[User], None]
    ) -> None:
        fresh = refresh(pair["refresh"]).json()
        change(user1)

        assert are_dead(fresh, CHANGED)

    def test_the_new_password_signs_in(self, pair: dict[str, str], user1: User) -> None:
        set_password(user1)

        assert are_alive(ask("", username="user1", password="another-password").json())

    def test_a_token_of_a_deactivated_user_is_neither_refreshed_nor_verified(
        self, pair: dict[str, str], user1: User
    ) -> None:
        User.objects.update(is_active=False)

        answers = [refresh(pair["refresh"]), *(ask("verify/", token=pair[kind]) for kind in pair)]

        assert {answer.status_code for answer in answers} == {401}
        User.objects.update(is_active=True)
        assert are_alive(pair)

    @pytest.mark.parametrize("change", [set_password, User.delete])
    def test_a_browser_session_ends_as_well(self, user1: User, change: Callable[[User], Any]) -> None:
        browser = Client()
        browser.force_login(user1)
        assert browser.get("/tasks/").status_code == 200

        change(user1)
        assert browser.get("/tasks/").status_code == 401

    def test_a_user_who_is_deleted_during_their_sign_in_gets_none(
        self, user1: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def authenticate(**credentials: Any) -> User:
            user = User.objects.get()
            User.objects.all().delete()
            return user

        monkeypatch.setattr("rest_framework_simplejwt.serializers.authenticate", authenticate)
        answer = ask("", **LOGIN)

        assert answer.status_code == 401
        assert answer.json()["detail"] == "No active account found with the given credentials"

    def test_a_sign_in_is_one_of_djangos(self, user1: User) -> None:
        heard = []

        def hear(sender: object, request: Any, user: User, **signal: Any) -> None:
            heard.append((request.path, user))

        user_logged_in.connect(hear)
        try:
            ask("", **LOGIN)
        finally:
            user_logged_in.disconnect(hear)

        assert heard == [("/api/token/", user1)]
        user1.refresh_from_db()
        assert user1.last_login is not None


class TestRoom:
    @pytest.fixture(autouse=True)
    def three(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sign_ins, "MAX_FAMILIES", 3)

    def test_a_user_has_no_more_than_so_many_families_and_the_oldest_go(self, user1: User, user2: User) -> None:
        theirs = access_token(user2)
        tokens = [issue(user1) for _ in range(5)]

        kept = {pk.hex for pk in TokenFamily.objects.filter(user=user1).values_list("pk", flat=True)}
        assert [token.family in kept for token in tokens] == [False, False, True, True, True]
        assert TokenFamily.objects.filter(pk=theirs["family"]).exists()

    def test_ended_ones_go_first_and_refreshed_ones_last(self, user1: User) -> None:
        kept, ended = (read(issue(user1)) for _ in range(2))
        sign_ins.rotate(kept)
        sign_ins.end(ended)

        for _ in range(4):
            issue(user1)

        left = set(TokenFamily.objects.values_list("pk", flat=True))
        assert len(left) == 3
        assert kept.family in {pk.hex for pk in left}
        assert ended.family not in {pk.hex for pk in left}

    def test_a_sign_in_removes_some_expired_families_of_anyone(
        self, user1: User, user2: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sign_ins, "MAX_EXPIRED", 2)
        for _ in range(3):
            issue(user2)
        TokenFamily.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

        issue(user1)

        assert TokenFamily.objects.filter(user=user2).count() == 1
        assert TokenFamily.objects.filter(user=user1).count() == 1

    def test_a_sign_in_asks_the_database_a_bounded_number_of_times(self, user1: User) -> None:
        issue(user1)
        with CaptureQueriesContext(connection) as queries:
            issue(user1)

        statements = [each["sql"] for each in queries if each["sql"].split()[0] in {"SELECT", "INSERT", "DELETE"}]
        assert len(statements) <= 4


def test_a_release_that_knows_no_sign_ins_deletes_their_user(pair: dict[str, str], user1: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM auth_user WHERE id = %s", [user1.pk])
    connection.check_constraints()
    assert opens(pair["access"]).status_code == refresh(pair["refresh"]).status_code == 401
