"""A create with a key is carried out once, however often it is asked for."""

import threading
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from actors.outbox.models import OutboxMessage
from tasks.models import IdempotencyKey, Task
from tests.unit.documented import DocumentedClient
from tests.unit.outbox.scene import elsewhere

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

TASK = {"title": "Bir", "description": "Ikki"}


def post(client: APIClient, data: Any = TASK, *, key: str = "k-1", url: str = "/tasks/") -> Any:
    return client.post(url, data, format="json", HTTP_IDEMPOTENCY_KEY=key)


def age(hours: float) -> None:
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=hours))


def test_the_same_again_is_answered_alike_and_creates_nothing(owner: DocumentedClient) -> None:
    first, second, third = (post(owner) for _ in range(3))
    assert [answer.status_code for answer in (first, second, third)] == [201] * 3
    assert first.content == second.content == third.content
    assert first["ETag"] == second["ETag"]
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == third["Idempotency-Replayed"] == "true"
    assert Task.objects.count() == OutboxMessage.objects.count() == 1


def test_what_is_said_in_another_order_is_the_same(owner: DocumentedClient) -> None:
    post(owner)
    assert post(owner, dict(reversed(TASK.items())))["Idempotency-Replayed"] == "true"


def test_a_form_is_the_same_whatever_parts_it(owner: DocumentedClient) -> None:
    for boundary in ("a", "b"):
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="title"\r\n\r\nBir\r\n--{boundary}--\r\n'
        answer = owner.generic(
            "POST", "/tasks/", body, f"multipart/form-data; boundary={boundary}", HTTP_IDEMPOTENCY_KEY="k"
        )
        assert answer.status_code == 201
    assert Task.objects.count() == 1


@pytest.mark.parametrize(
    ("data", "url"), [({"title": "Boshqa"}, "/tasks/"), ([TASK], "/tasks/bulk/"), ({**TASK, "x": 1}, "/tasks/")]
)
def test_another_request_with_the_key_is_refused(owner: DocumentedClient, data: Any, url: str) -> None:
    post(owner)
    assert post(owner, data, url=url).status_code == 422
    assert Task.objects.count() == 1


def test_a_key_is_its_users_own(owner: DocumentedClient, other: DocumentedClient) -> None:
    assert post(owner).json()["id"] != post(other).json()["id"]


def test_many_are_created_once(owner: DocumentedClient) -> None:
    answers = [post(owner, [TASK, TASK], url="/tasks/bulk/") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Task.objects.count() == 2


def test_what_was_refused_may_be_mended_under_the_same_key(owner: DocumentedClient) -> None:
    assert post(owner, {"title": ""}).status_code == 400
    assert post(owner).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "kalit-ў"])
def test_what_is_no_key_is_refused(owner: DocumentedClient, key: str) -> None:
    assert post(owner, key=key).status_code == 400
    assert not Task.objects.exists()


def test_without_a_key_each_is_a_task(owner: DocumentedClient) -> None:
    for _ in range(2):
        owner.post("/tasks/", TASK, format="json")
    assert (Task.objects.count(), IdempotencyKey.objects.count()) == (2, 0)


def test_a_key_means_nothing_after_its_time(owner: DocumentedClient) -> None:
    post(owner)
    age(23.9)
    post(owner)
    assert Task.objects.count() == 1
    age(24.1)
    assert "Idempotency-Replayed" not in post(owner, {"title": "Boshqa"})
    assert (Task.objects.count(), IdempotencyKey.objects.count()) == (2, 1)


def test_the_command_forgets_what_means_nothing(owner: DocumentedClient) -> None:
    post(owner, key="old")
    age(25)
    post(owner, key="new")
    out = StringIO()
    call_command("clean_idempotency_keys", stdout=out)
    assert out.getvalue() == "1 keys deleted, 1 kept.\n"
    assert IdempotencyKey.objects.get().key == "new"


def test_a_task_whose_key_cannot_be_kept_is_not_created(
    owner: DocumentedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**values: Any) -> None:
        raise RuntimeError

    owner.raise_request_exception = True
    monkeypatch.setattr(IdempotencyKey.objects, "create", fail)
    with pytest.raises(RuntimeError):
        post(owner)
    assert not Task.objects.exists()
    assert not OutboxMessage.objects.exists()


@pytest.fixture
def on_postgresql(database: str) -> None:
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")


@pytest.mark.usefixtures("on_postgresql")
def test_while_one_is_carried_out_another_is_told_to_come_again(owner: DocumentedClient, user1: User) -> None:
    number = int.from_bytes(sha256(f"{user1.pk}:k-1".encode()).digest()[:8], "big", signed=True)
    is_locked, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
            is_locked.set()
            may_end.wait(60)

    holder = elsewhere(hold)
    assert is_locked.wait(30)
    answer = post(owner)
    assert (answer.status_code, answer["Retry-After"]) == (409, "1")
    assert post(owner, key="k-2").status_code == 201
    may_end.set()
    holder.join()
    assert post(owner).status_code == 201


@pytest.mark.usefixtures("on_postgresql")
def test_of_many_at_once_one_creates(user1: User, client_of: Callable[[User], APIClient]) -> None:
    answers: list[Any] = []
    threads = [elsewhere(lambda: answers.append(post(client_of(user1)))) for _ in range(8)]
    for thread in threads:
        thread.join(60)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert Task.objects.count() == 1
