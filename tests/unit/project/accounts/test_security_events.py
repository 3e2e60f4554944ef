"""Security events: what is recorded, what is never stored; the record neither changes nor grows without end."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from project.accounts import security_events
from project.accounts.security_events import FURTHER, Kind, SecurityEvent, record
from tests.conftest import PASSWORD
from tests.tokens import bearer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("database"),
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]

PAGE = "/admin/accounts/securityevent/"
OTHER = "another-password-for-tests"


def events(*columns: str) -> list[tuple[Any, ...]]:
    return list(SecurityEvent.objects.order_by("pk").values_list(*columns))


def grow_older(**by: int) -> None:
    with connection.cursor() as cursor:  # no other way changes them
        past = connection.ops.adapt_datetimefield_value(timezone.now() - timedelta(**by))
        cursor.execute("UPDATE accounts_securityevent SET at = %s", [past])


@pytest.mark.parametrize("door", ["/admin/login/", "/api-auth/login/"])
def test_a_sign_in_its_failure_and_the_sign_out_are_recorded(client: Client, door: str) -> None:
    User.objects.create_superuser("boss", password=PASSWORD)
    user, start = User.objects.get(), SecurityEvent.objects.count()
    client.post(door, {"username": "boss", "password": "hunter2"}, REMOTE_ADDR="192.0.2.7")
    client.post(door, {"username": "boss", "password": PASSWORD}, REMOTE_ADDR="192.0.2.8")
    client.post("/admin/logout/", REMOTE_ADDR="192.0.2.9")

    assert events("kind", "account", "user_id", "address")[start:] == [
        ("login_failed", "boss", None, "192.0.2.7"),
        ("login", "boss", user.pk, "192.0.2.8"),
        ("logout", "boss", user.pk, "192.0.2.9"),
    ]
    assert all(request_id for (request_id,) in events("request_id")[start:])


@pytest.mark.parametrize("door", ["/api/token/logout/", "/api/token/logout-everywhere/"])
def test_tokens_that_come_and_go_are_recorded(user1: User, door: str) -> None:
    client, start = APIClient(REMOTE_ADDR="192.0.2.7"), SecurityEvent.objects.count()
    tokens = client.post("/api/token/", {"username": "user1", "password": PASSWORD}).json()
    assert client.post(door, {"token": tokens["access"]}).status_code == 200

    assert events("kind", "account", "user_id", "address")[start:] == [
        ("login", "user1", user1.pk, "192.0.2.7"),
        ("logout", "user1", user1.pk, "192.0.2.7"),
    ]


def test_a_refresh_token_that_is_used_twice_is_recorded(user1: User) -> None:
    client = APIClient(REMOTE_ADDR="192.0.2.7")
    tokens = client.post("/api/token/", {"username": "user1", "password": PASSWORD}).json()
    answers = [client.post("/api/token/refresh/", {"refresh": tokens["refresh"]}).status_code for _ in range(3)]

    assert answers == [200, 401, 401]
    assert events("kind", "user_id", "address")[-1:] == [("token_reuse", user1.pk, "192.0.2.7")]
    assert SecurityEvent.objects.filter(kind=Kind.REUSE).count() == 1


def test_a_token_that_is_refused_is_a_failed_sign_in(user1: User) -> None:
    APIClient().post("/api/token/", {"username": "user1", "password": "hunter2"}, REMOTE_ADDR="2001:db8::1")

    assert events("kind", "account", "address") == [("login_failed", "user1", "2001:db8::1")]


@pytest.mark.parametrize("typed", ["a\0b", "\ud800", "x" * 100_000, "<script>alert(1)</script>", "\n2026 forged"])
def test_an_account_is_stored_as_typed_within_bounds(admin_client: Client, typed: str) -> None:
    record(Kind.LOGIN_FAILED, account=typed)

    [account] = SecurityEvent.objects.filter(kind=Kind.LOGIN_FAILED).values_list("account", flat=True)
    assert len(account) <= security_events.MAX_NAME
    shown = admin_client.get(PAGE)
    assert shown.status_code == 200
    assert "<script>alert" not in shown.content.decode()


def test_no_event_has_a_password(client: Client, admin_client: Client, user1: User) -> None:
    for door in ("/admin/login/", "/api/token/"):
        client.post(door, {"username": "user1", "password": "hunter2"})
    form = {"usable_password": "true", "password1": OTHER, "password2": OTHER}
    assert admin_client.post(f"/admin/auth/user/{user1.pk}/password/", form).status_code == 302

    user1.refresh_from_db()
    for event in SecurityEvent.objects.values():
        assert not {"hunter2", OTHER, PASSWORD, user1.password} & {str(value) for value in event.values()}
        assert not any(secret in str(event) for secret in ("hunter2", OTHER, user1.password))


def test_a_password_that_is_changed_in_the_admin_is_recorded_with_who_did_it(
    admin_client: Client, admin_user: User, user1: User
) -> None:
    form = {"usable_password": "true", "password1": OTHER, "password2": OTHER}
    assert admin_client.post(f"/admin/auth/user/{user1.pk}/password/", form).status_code == 302

    latest = SecurityEvent.objects.latest("pk")
    assert (latest.kind, latest.account, latest.user_id) == ("password", "user1", user1.pk)
    assert (latest.by, latest.by_id) == ("admin", admin_user.pk)


@pytest.mark.parametrize(
    "change",
    [
        lambda user: user.set_password(OTHER),
        lambda user: user.set_unusable_password(),
        lambda user: setattr(user, "password", "md5$x$0"),
    ],
)
def test_any_change_of_a_password_is_recorded_once(user1: User, change: Callable[[User], None]) -> None:
    change(user1)
    user1.save()
    user1.save()

    assert events("kind", "account", "by") == [("password", "user1", "")]


def test_a_stronger_hash_of_the_same_password_is_no_change(user1: User, settings: Any) -> None:
    md5, client = settings.PASSWORD_HASHERS, APIClient(HTTP_AUTHORIZATION=bearer(user1))
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *md5]
    before = user1.password
    assert authenticate(username="user1", password=PASSWORD)

    user1.refresh_from_db()
    assert user1.password != before
    assert events("kind") == []
    assert client.get("/tasks/").status_code == 200


def test_another_password_that_code_has_hashed_is_a_change(user1: User) -> None:
    client = APIClient(HTTP_AUTHORIZATION=bearer(user1))
    user1.password = make_password("another-password")
    user1.save(update_fields=["password"])

    assert events("kind", "user_id") == [("password", user1.pk)]
    assert client.get("/tasks/").status_code == 401


def test_rights_are_recorded_with_what_they_were(user1: User) -> None:
    User.objects.create_superuser("boss", password=PASSWORD)
    user1.is_staff, user1.is_active, user1.first_name = True, False, "Ali"
    user1.save()
    user1.is_staff = False
    user1.save(update_fields=["first_name"])

    assert events("kind", "account", "detail") == [
        ("rights", "boss", "is_staff: False → True, is_superuser: False → True"),
        ("rights", "user1", "is_active: True → False, is_staff: False → True"),
    ]


def test_groups_and_permissions_are_recorded(user1: User) -> None:
    editors = Group.objects.create(name="editors")
    may_view = Permission.objects.get(codename="view_activity")
    user1.groups.add(editors)
    user1.groups.add(editors)
    user1.user_permissions.set([may_view])
    editors.permissions.add(may_view)
    editors.user_set.remove(user1)
    user1.user_permissions.clear()
    Group.objects.all().delete()

    assert events("kind", "account", "detail") == [
        ("rights", "user1", "groups: + editors"),
        ("rights", "user1", f"permissions: + {may_view}"),
        ("rights", "", f"group editors: permissions: + {may_view}"),
        ("rights", "", "group editors: users: - user1"),
        ("rights", "user1", "permissions: - all"),
        ("rights", "", "group editors: deleted"),
    ]


def test_what_is_rolled_back_is_no_event(user1: User) -> None:
    with transaction.atomic():
        user1.set_password(OTHER)
        user1.save()
        assert events("kind") == [("password",)]
        transaction.set_rollback(True)

    assert events("kind") == []


def test_an_event_is_neither_changed_nor_deleted(user1: User) -> None:
    record(Kind.LOGIN, user=user1)
    event = SecurityEvent.objects.get()
    for attempt in (
        event.save,
        event.delete,
        SecurityEvent.objects.all().delete,
        lambda: SecurityEvent.objects.update(account="another"),
        lambda: SecurityEvent.objects.filter(pk=event.pk)._raw_delete("default"),
    ):
        with pytest.raises(TypeError, match="Security events are"):
            attempt()
    user1.delete()

    assert events("account") == [("user1",)]


def test_an_attacker_cannot_fill_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security_events, "MAX_FAILURES_OF_ADDRESS", 3)
    monkeypatch.setattr(security_events, "MAX_FAILURES", 5)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        for number in range(6):
            guess = {"username": f"guess{number}", "password": "x"}
            APIClient().post("/api/token/", guess, REMOTE_ADDR=address)

    assert events("address", "detail") == [
        *(("192.0.2.1", detail) for detail in ("", "", FURTHER)),
        *(("192.0.2.2", detail) for detail in ("", FURTHER)),
    ]
    record(Kind.LOGIN, account="others are recorded")
    grow_older(hours=2)
    APIClient().post("/api/token/", {"username": "later", "password": "x"}, REMOTE_ADDR="192.0.2.1")
    assert events("account")[-2:] == [("others are recorded",), ("later",)]


def test_old_events_are_pruned(settings: Any) -> None:
    settings.SECURITY_EVENT_DAYS = 30
    for number in range(3):
        record(Kind.LOGIN, account=f"old{number}")
    grow_older(days=31)
    record(Kind.LOGIN, account="young")
    out = StringIO()
    call_command("prune_security_events", stdout=out)

    assert out.getvalue() == "3 security events deleted, 1 kept.\n"
    assert events("account") == [("young",)]


def test_the_page_is_read_filtered_and_searched(admin_client: Client, user1: User, client_of: Any) -> None:
    APIClient().post("/api/token/", {"username": "eve", "password": "x"}, REMOTE_ADDR="192.0.2.66")
    record(Kind.LOGIN, user=user1)

    def shown(**parameters: str) -> set[str]:
        return {event.account for event in admin_client.get(PAGE, parameters).context["cl"].result_list}

    assert shown(kind__exact="login_failed") == {"eve"}
    assert shown(account="user1") == shown(q="user1") == shown(q=str(user1.pk)) == {"user1"}
    assert shown(address="192.0.2.66") == shown(q="192.0.2.66") == {"eve"}
    event = SecurityEvent.objects.latest("pk")
    assert admin_client.get(f"{PAGE}{event.pk}/change/").status_code == 200
    for address in (f"{PAGE}add/", f"{PAGE}{event.pk}/delete/"):
        assert admin_client.post(address, {"post": "yes"}).status_code == 403
    assert admin_client.post(f"{PAGE}{event.pk}/change/", {"account": "x"}).status_code == 403


def test_the_page_needs_its_permission(client: Client) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(PAGE).status_code == 403
    staff.user_permissions.set(Permission.objects.filter(codename="view_securityevent"))
    assert client.get(PAGE).status_code == 200
