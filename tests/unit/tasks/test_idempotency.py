"""Creates with an Idempotency-Key: executed once however often they are sent, with the same response each time."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings
from rest_framework.serializers import BaseSerializer
from rest_framework.test import APIClient

from actors.outbox.models import OutboxMessage
from project.local.servers.process import wait_until
from tasks import idempotency
from tasks.models import IdempotencyKey, Task
from tasks.views import TaskViewSet
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

CROWD = 8
KEY = "7f9c0a52-6c1e-4b1e-9a53-0f6f5a1d7b11"
TASK = {"title": "Oʻzbekcha, русский, 😀", "description": "Bir\nikki", "completed": True}
BAD_KEYS = ["", " ", "a b", "a\tb", "a" * 256, "kalit-ў", "é", "a\x7f"]
GOOD_KEYS = ["a", "a" * 255, KEY, '"quoted"', "!~", "%s", "';--"]

ClientOf = Callable[[User], APIClient]


@pytest.fixture
def concurrent(database: str) -> None:
    """For tests with more than one connection."""
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")


def create(client: APIClient, body: Any = TASK, *, key: str = KEY, address: str = "/tasks/") -> Any:
    return client.post(address, body, format="json", headers={idempotency.HEADER: key})


def is_replay_of(again: Any, first: Any) -> bool:
    """Return whether a response is the first one replayed, and marked as such."""
    same = (again.status_code, again.content, again.get("ETag")) == (
        first.status_code,
        first.content,
        first.get("ETag"),
    )
    return same and again[idempotency.REPLAYED] == "true" and idempotency.REPLAYED not in first


def made() -> tuple[int, int]:
    """Return how many tasks there are, and how many messages about them."""
    return Task.objects.count(), OutboxMessage.objects.count()


def age(**passed: float) -> None:
    """Make all keys older by this much."""
    for kept in IdempotencyKey.objects.all():
        IdempotencyKey.objects.filter(pk=kept.pk).update(created_at=kept.created_at - timedelta(**passed))


class TestTheSameRequest:
    def test_it_is_answered_as_before_and_creates_nothing(self, client1: APIClient) -> None:
        first = create(client1)
        again = [create(client1) for _ in range(3)]

        assert first.status_code == 201
        assert first["ETag"] == client1.get(f"/tasks/{first.json()['id']}/")["ETag"]
        assert all(is_replay_of(answer, first) for answer in again)
        assert made() == (1, 1)

    def test_it_is_answered_as_before_whatever_became_of_the_task(self, client1: APIClient) -> None:
        first = create(client1)
        client1.patch(f"/tasks/{first.json()['id']}/", {"title": "Boshqa"}, format="json")
        assert is_replay_of(create(client1), first)

        client1.delete(f"/tasks/{first.json()['id']}/")
        assert is_replay_of(create(client1), first)
        assert not Task.objects.exists()

    def test_it_may_name_things_in_another_order_and_with_other_spaces(self, client1: APIClient) -> None:
        first = create(client1, TASK)
        text = json.dumps(dict(reversed(TASK.items())), indent=4)

        again = client1.post("/tasks/", text, content_type="application/json", headers={idempotency.HEADER: KEY})

        assert is_replay_of(again, first)
        assert made() == (1, 1)

    def test_it_is_the_same_in_another_language(self, client1: APIClient) -> None:
        first = create(client1)
        headers = {idempotency.HEADER: KEY, "Accept-Language": "ru"}

        assert is_replay_of(client1.post("/tasks/", TASK, format="json", headers=headers), first)

    def test_a_replay_is_a_page_where_a_page_is_asked_for(self, client1: APIClient) -> None:
        create(client1)

        page = client1.post("/tasks/", TASK, format="json", headers={idempotency.HEADER: KEY, "Accept": "text/html"})

        assert (page.status_code, page["Content-Type"]) == (201, "text/html; charset=utf-8")
        assert made() == (1, 1)

    @pytest.mark.parametrize("key", GOOD_KEYS)
    def test_a_key_is_any_visible_characters(self, client1: APIClient, key: str) -> None:
        first = create(client1, key=key)

        assert first.status_code == 201
        assert is_replay_of(create(client1, key=key), first)

    def test_without_a_key_each_request_creates(self, client1: APIClient) -> None:
        for _ in range(2):
            answer = client1.post("/tasks/", TASK, format="json")
            assert (answer.status_code, idempotency.REPLAYED in answer) == (201, False)

        assert made() == (2, 2)
        assert not IdempotencyKey.objects.exists()


class TestAnotherRequest:
    def test_another_key_is_another_request(self, client1: APIClient) -> None:
        first, second = create(client1), create(client1, key=KEY.upper())

        assert first.json()["id"] != second.json()["id"]
        assert made() == (2, 2)

    @pytest.mark.parametrize(
        "body", [TASK | {"title": "Boshqa"}, TASK | {"completed": 1}, TASK | {"color": "red"}, {"title": ""}, [TASK]]
    )
    def test_another_body_under_the_same_key_is_refused(self, client1: APIClient, body: Any) -> None:
        first = create(client1)

        refused = create(client1, body)

        assert refused.status_code == 422
        assert "Idempotency-Key was used for another request" in refused.json()["detail"]
        assert made() == (1, 1)
        assert is_replay_of(create(client1), first)

    @pytest.mark.parametrize(("one", "other"), [("/tasks/", "/tasks/bulk/"), ("/tasks/bulk/", "/tasks/")])
    def test_another_address_under_the_same_key_is_refused(self, client1: APIClient, one: str, other: str) -> None:
        body: Any = [TASK] if one == "/tasks/bulk/" else TASK
        assert create(client1, body, address=one).status_code == 201

        assert create(client1, body, address=other).status_code == 422
        assert made() == (1, 1)

    def test_the_key_of_another_user_is_another(self, client1: APIClient, client2: APIClient) -> None:
        mine, others = create(client1), create(client2)

        assert (mine.status_code, others.status_code) == (201, 201)
        assert (mine.json()["owner"], others.json()["owner"]) == ("user1", "user2")
        assert is_replay_of(create(client1), mine)
        assert is_replay_of(create(client2), others)
        assert made() == (2, 2)

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_what_is_no_key_is_refused(self, client1: APIClient, key: str) -> None:
        answer = client1.post("/tasks/", TASK, format="json", HTTP_IDEMPOTENCY_KEY=key)

        assert answer.status_code == 400
        assert answer.json() == {"detail": "Idempotency-Key takes 1 to 255 visible ASCII characters, such as a UUID."}
        assert made() == (0, 0)

    def test_an_unsigned_client_has_no_key(self, client1: APIClient) -> None:
        create(client1)

        assert create(APIClient()).status_code == 401


class TestRefusals:
    @pytest.mark.parametrize(("body", "address"), [({"title": ""}, "/tasks/"), ([TASK, {}], "/tasks/bulk/")])
    def test_what_is_refused_is_not_kept(self, client1: APIClient, body: Any, address: str) -> None:
        refused = [create(client1, body, address=address) for _ in range(2)]

        assert [(answer.status_code, idempotency.REPLAYED in answer) for answer in refused] == [(400, False)] * 2
        assert not IdempotencyKey.objects.exists()
        assert create(client1, TASK).status_code == 201

    @pytest.mark.parametrize("text", ["{", "\x00", '{"title": NaN}'])
    def test_what_cannot_be_read_is_refused(self, client1: APIClient, text: str) -> None:
        headers = {idempotency.HEADER: KEY}

        assert client1.post("/tasks/", text, content_type="application/json", headers=headers).status_code == 400
        assert client1.post("/tasks/", text, content_type="text/plain", headers=headers).status_code == 415
        assert not IdempotencyKey.objects.exists()

    def test_a_body_however_deep_is_no_error_of_ours(self, client1: APIClient) -> None:
        def send(depth: int) -> int:
            text = f'{{"title": "a", "deep": {"[" * depth}{"]" * depth}}}'
            headers = {idempotency.HEADER: f"{depth}-deep"}
            return client1.post("/tasks/", text, content_type="application/json", headers=headers).status_code

        # Between the two depths Python may read JSON that it cannot write.
        assert {send(depth) for depth in (100, *range(600, 1000, 10), 10_000)} == {400}

    def test_a_key_that_cannot_be_kept_undoes_the_creation(
        self, client1: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**values: Any) -> None:
            raise IntegrityError

        with monkeypatch.context() as patch:
            patch.setattr("tasks.idempotency.IdempotencyKey.objects.create", fail)
            with pytest.raises(IntegrityError):
                create(client1)

        assert made() == (0, 0)
        assert create(client1).status_code == 201

    def test_a_creation_that_fails_keeps_no_key(self, client1: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("tasks.signals.log_task_creation.message_with_options", lambda **options: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                create(client1)

        assert not IdempotencyKey.objects.exists()
        assert create(client1).status_code == 201


class TestExpiry:
    def test_a_key_is_kept_for_its_hours(self, client1: APIClient, settings: Settings) -> None:
        settings.IDEMPOTENCY_HOURS = 5
        first = create(client1)

        age(hours=4, minutes=50)

        assert is_replay_of(create(client1), first)

    @pytest.mark.parametrize("title", [TASK["title"], "Boshqa"])
    def test_an_expired_key_is_a_new_one(self, client1: APIClient, settings: Settings, title: str) -> None:
        settings.IDEMPOTENCY_HOURS = 5
        first = create(client1)
        age(hours=5)

        second = create(client1, TASK | {"title": title})

        assert (second.status_code, idempotency.REPLAYED in second) == (201, False)
        assert second.json()["id"] != first.json()["id"]
        assert is_replay_of(create(client1, TASK | {"title": title}), second)
        assert (made(), IdempotencyKey.objects.count()) == ((2, 2), 1)

    def test_an_expired_key_outlives_a_refusal(self, client1: APIClient, settings: Settings) -> None:
        create(client1)
        age(hours=settings.IDEMPOTENCY_HOURS)

        assert create(client1, {}).status_code == 400
        assert create(client1).status_code == 201

    def test_the_command_deletes_the_expired_in_batches(
        self, client1: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.management.commands.clean_idempotency_keys.BATCH", 2)
        for number in range(5):
            create(client1, key=f"old-{number}")
        age(hours=settings.IDEMPOTENCY_HOURS)
        young = create(client1)

        assert clean() == "5 keys deleted, 1 kept.\n"

        assert list(IdempotencyKey.objects.values_list("key", flat=True)) == [KEY]
        assert is_replay_of(create(client1), young)
        assert made() == (6, 6)

    def test_the_command_may_find_nothing(self, client1: APIClient) -> None:
        assert clean() == "0 keys deleted, 0 kept.\n"
        create(client1)
        assert clean() == "0 keys deleted, 1 kept.\n"

    def test_keys_go_with_their_user(self, client1: APIClient, user1: User) -> None:
        create(client1)
        user1.delete()

        assert not IdempotencyKey.objects.exists()


def clean() -> str:
    out = StringIO()
    call_command("clean_idempotency_keys", stdout=out)
    return out.getvalue()


class Unfinished:
    """A request with the key, sent in_another_thread, that has created its task and waits before its commit."""

    def __init__(self, client: APIClient) -> None:
        self.client = client
        self.has_created, self.may_end, self.is_cut = threading.Event(), threading.Event(), False
        self.statuses: list[int] = []

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(TaskViewSet, "perform_create", lambda view, serializer: self._create_slowly(serializer))
            self.thread = in_another_thread(self._send)
            assert self.has_created.wait(30)

    def end(self, *, cut: bool = False) -> list[int]:
        """Let the request commit, or lose its connection; return the status of the response, if there was one."""
        self.is_cut = cut
        self.may_end.set()
        self.thread.join()
        return self.statuses

    def _send(self) -> None:
        with suppress(ConnectionError):
            self.statuses.append(create(self.client).status_code)

    def _create_slowly(self, serializer: BaseSerializer[Task]) -> None:
        serializer.save(owner=serializer.context["request"].user)
        self.has_created.set()
        assert self.may_end.wait(30)
        if self.is_cut:
            connection.close()
            raise ConnectionError


@pytest.fixture
def unfinished(
    concurrent: None, client_of: ClientOf, user1: User, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Unfinished]:
    request = Unfinished(client_of(user1))
    request.begin(monkeypatch)
    yield request
    request.end()


class TestAtOnce:
    def test_while_a_request_is_carried_out_its_repetition_is_put_off(
        self, unfinished: Unfinished, client1: APIClient
    ) -> None:
        early = [create(client1), create(client1, {"title": "Boshqa"})]

        assert [(answer.status_code, answer["Retry-After"]) for answer in early] == [(409, "1")] * 2
        assert "still being carried out" in early[0].json()["detail"]
        assert unfinished.end() == [201]
        assert create(client1)[idempotency.REPLAYED] == "true"
        assert made() == (1, 1)

    def test_other_keys_and_other_users_are_not_put_off(
        self, unfinished: Unfinished, client1: APIClient, client2: APIClient
    ) -> None:
        assert create(client1, key="boshqa").status_code == 201
        assert create(client2).status_code == 201
        assert client1.post("/tasks/", TASK, format="json").status_code == 201

    def test_a_connection_that_is_cut_has_created_nothing_and_blocks_no_repeat(
        self, unfinished: Unfinished, client1: APIClient
    ) -> None:
        assert create(client1).status_code == 409
        assert unfinished.end(cut=True) == []

        assert wait_until(lambda: create(client1).status_code == 201, timeout_seconds=30)
        assert made() == (1, 1)

    def test_a_repetition_is_put_off_by_the_lock_of_its_user_and_key_alone(
        self, concurrent: None, client1: APIClient, user1: User
    ) -> None:
        number = int.from_bytes(sha256(f"{user1.pk}:{KEY}".encode()).digest()[:8], "big", signed=True)
        is_locked, may_end = threading.Event(), threading.Event()

        def lock() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
                is_locked.set()
                assert may_end.wait(30)

        thread = in_another_thread(lock)
        assert is_locked.wait(30)
        assert create(client1).status_code == 409
        may_end.set()
        thread.join()
        assert create(client1).status_code == 201

    def test_of_many_at_once_one_creates_and_the_others_are_put_off_or_answered_alike(
        self, concurrent: None, client_of: ClientOf, user1: User
    ) -> None:
        all_ready = threading.Barrier(CROWD, timeout=30)

        def send(_number: int) -> Any:
            try:
                all_ready.wait()
                return create(client_of(user1))
            finally:
                connection.close()

        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(send, range(CROWD)))

        created = [answer for answer in answers if answer.status_code == 201]
        put_off = [answer for answer in answers if answer.status_code == 409]
        assert len(created) + len(put_off) == CROWD
        assert len([answer for answer in created if idempotency.REPLAYED not in answer]) == 1
        assert {answer.content for answer in created} == {created[0].content}
        assert all(answer["Retry-After"] for answer in put_off)
        assert made() == (1, 1)
