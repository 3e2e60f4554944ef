"""Conditional reads and writes: a client with a task's ETag downloads it once and overwrites no unseen change."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.test import APIClient

from tasks.models import Task
from tests.unit.tasks.crowd import CROWD, Crowd, sent_versions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

MARKS_OF_EACH = 8
STALE = '"1-0123456789abcdef"'
# As proxies that compress send it on: nginx, Apache and Caddy, several after one another. {tag} is without quotes.
ALTERED = ['W/"{tag}"', '"{tag}-gzip"', '"{tag}-br"', '"{tag}-zstd"', '"{tag}-deflate"', 'W/"{tag}-gzip"']
# Nothing that a proxy makes of it.
FOREIGN = ['"{tag}-x"', '"{tag}-gzip-br"', '"-gzip"', '"x{tag}"', '"{tag}x"', 'W/"W/{tag}"', 'W/"{tag}-"']
WRITES = [
    pytest.param("put", {"title": "Boshqa"}, id="PUT"),
    pytest.param("patch", {"completed": True}, id="PATCH"),
    pytest.param("delete", None, id="DELETE"),
]
READS = [pytest.param("get", id="GET"), pytest.param("head", id="HEAD")]
GARBAGE = ["1-0123456789abcdef", "W/abc", '"', "", ",", "**", '"abc", garbage', '"abc" "abc"', '*, "abc"']

Body = dict[str, object] | None
ClientOf = Callable[[User], APIClient]


@pytest.fixture
def address(task: Task) -> str:
    return f"/tasks/{task.pk}/"


def write(client: APIClient, method: str, address: str, body: Body, **headers: str) -> Any:
    return getattr(client, method)(address, body, format="json", headers=headers)


def is_untouched(task: Task) -> bool:
    state = {"title": task.title, "completed": task.completed, "version": task.version, "updated_at": task.updated_at}
    return Task.objects.filter(pk=task.pk, **state).exists() and sent_versions(task) == [1]


class TestTags:
    def test_a_read_task_has_one_in_quotes(self, client1: APIClient, address: str) -> None:
        etag = client1.get(address)["ETag"]

        assert etag.startswith('"1-')
        assert etag.endswith('"')

    @pytest.mark.parametrize("method", READS)
    def test_it_stays_as_long_as_the_task(self, client1: APIClient, address: str, method: str) -> None:
        assert getattr(client1, method)(address)["ETag"] == client1.get(address)["ETag"]

    def test_it_is_the_same_for_all_users(self, client1: APIClient, client2: APIClient, address: str) -> None:
        assert client1.get(address)["ETag"] == client2.get(address)["ETag"]

    def test_a_created_task_has_the_one_that_it_is_read_with(self, client1: APIClient) -> None:
        created = client1.post("/tasks/", {"title": "  Yangi vazifa"}, format="json")

        assert created.status_code == 201
        assert created["ETag"] == client1.get(f"/tasks/{created.json()['id']}/")["ETag"]

    @pytest.mark.parametrize(("method", "body"), WRITES[:2])
    def test_a_changed_task_has_the_new_one(self, client1: APIClient, address: str, method: str, body: Body) -> None:
        before = client1.get(address)["ETag"]

        changed = write(client1, method, address, body)

        assert changed["ETag"] == client1.get(address)["ETag"] != before

    def test_a_change_that_changes_nothing_keeps_it(self, client1: APIClient, address: str) -> None:
        before = client1.get(address)["ETag"]

        assert client1.patch(address, {"completed": False}, format="json")["ETag"] == before

    def test_every_change_gives_a_new_one_also_there_and_back(self, client1: APIClient, address: str) -> None:
        tags = [client1.get(address)["ETag"]]
        bodies: list[Body] = [{"completed": True}, {"completed": False}, {"title": "Boshqa"}, {"description": "Boshqa"}]
        tags += [write(client1, "patch", address, body)["ETag"] for body in bodies]

        assert len(set(tags)) == 5

    def test_a_change_by_query_gives_a_new_one(self, client1: APIClient, address: str) -> None:
        before = client1.get(address)["ETag"]

        Task.objects.update(completed=True)

        assert client1.get(address)["ETag"] != before

    def test_another_name_of_the_owner_gives_a_new_one(
        self, client1: APIClient, address: str, user1: User, task: Task
    ) -> None:
        before = client1.get(address)["ETag"]
        user1.username = "boshqa"
        user1.save()

        after = client1.get(address)

        assert (after.json()["owner"], after.json()["version"]) == ("boshqa", 1)
        assert after["ETag"] != before
        assert write(client1, "patch", address, {"completed": True}, **{"If-Match": before}).status_code == 412

    def test_lists_and_deletions_have_none(self, client1: APIClient, address: str) -> None:
        assert "ETag" not in client1.get("/tasks/")
        assert "ETag" not in client1.delete(address)


class TestConditionalReads:
    @pytest.mark.parametrize("method", READS)
    @pytest.mark.parametrize("known", ["{etag}", "W/{etag}", '"abc", {etag}', '"abc",W/{etag} , W/"def"', "*", " * "])
    def test_who_has_the_task_gets_no_second_copy(
        self, client1: APIClient, address: str, method: str, known: str
    ) -> None:
        etag = client1.get(address)["ETag"]

        answer = getattr(client1, method)(address, headers={"If-None-Match": known.format(etag=etag)})

        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
        assert "Content-Type" not in answer

    @pytest.mark.parametrize("altered", ALTERED)
    def test_who_has_the_task_through_a_proxy_that_compresses_gets_no_second_copy(
        self, client1: APIClient, address: str, altered: str
    ) -> None:
        known = altered.format(tag=client1.get(address)["ETag"].strip('"'))
        assert client1.get(address, headers={"If-None-Match": known}).status_code == 304
        assert client1.get(address, headers={"If-Match": known}).status_code == 200

        client1.patch(address, {"completed": True}, format="json")
        assert client1.get(address, headers={"If-None-Match": known}).status_code == 200
        assert client1.get(address, headers={"If-Match": known}).status_code == 412

    @pytest.mark.parametrize("method", READS)
    @pytest.mark.parametrize("known", [STALE, f'W/{STALE}, "abc"'])
    def test_who_has_another_state_gets_the_task(
        self, client1: APIClient, address: str, method: str, known: str
    ) -> None:
        answer = getattr(client1, method)(address, headers={"If-None-Match": known})

        assert (answer.status_code, answer["ETag"]) == (200, client1.get(address)["ETag"])
        assert bool(answer.content) == (method == "get")

    def test_who_had_the_task_before_a_change_gets_it(self, client1: APIClient, address: str) -> None:
        etag = client1.get(address)["ETag"]
        client1.patch(address, {"completed": True}, format="json")

        answer = client1.get(address, headers={"If-None-Match": etag})

        assert (answer.status_code, answer.json()["completed"]) == (200, True)

    def test_who_wants_one_state_gets_no_other(self, client1: APIClient, address: str) -> None:
        etag = client1.get(address)["ETag"]

        assert client1.get(address, headers={"If-Match": etag}).status_code == 200
        assert client1.get(address, headers={"If-Match": STALE}).status_code == 412

    @pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_a_condition_that_means_nothing_is_refused(
        self, client1: APIClient, address: str, header: str, garbage: str
    ) -> None:
        answer = client1.get(address, headers={header: garbage})

        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(header)

    @pytest.mark.parametrize("header", ["If-Modified-Since", "If-Unmodified-Since"])
    def test_dates_are_no_conditions(self, client1: APIClient, address: str, header: str) -> None:
        assert client1.get(address, headers={header: "Sat, 01 Jan 2000 00:00:00 GMT"}).status_code == 200

    @pytest.mark.parametrize("known", [STALE, "*"])
    def test_what_is_not_there_is_not_found_whatever_the_condition(self, client1: APIClient, known: str) -> None:
        assert client1.get("/tasks/999999/", headers={"If-None-Match": known}).status_code == 404

    def test_a_browser_gets_its_page(self, client1: APIClient, address: str) -> None:
        etag = client1.get(address)["ETag"]

        answer = client1.get(address, headers={"Accept": "text/html", "If-None-Match": etag})

        assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(("method", "body"), WRITES)
class TestConditionalWrites:
    @pytest.mark.parametrize("seen", ["{etag}", '"abc", {etag}', ', "abc",,{etag} ,', "*"])
    def test_who_has_seen_the_task_changes_it(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, seen: str
    ) -> None:
        etag = client1.get(address)["ETag"]

        answer = write(client1, method, address, body, **{"If-Match": seen.format(etag=etag)})

        assert answer.status_code == (204 if method == "delete" else 200)
        assert sent_versions(task) == [1, 2]

    def test_an_answers_tag_is_good_for_the_next_change(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body
    ) -> None:
        changed = client1.patch(address, {"description": "Boshqa"}, format="json")

        assert write(client1, method, address, body, **{"If-Match": changed["ETag"]}).status_code in (200, 204)

    @pytest.mark.parametrize("altered", ALTERED)
    def test_who_has_seen_it_through_a_proxy_that_compresses_changes_it_once(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, altered: str
    ) -> None:
        seen = altered.format(tag=client1.get(address)["ETag"].strip('"'))
        listed = f'"abc", {seen}'

        assert write(client1, method, address, body, **{"If-Match": listed}).status_code in (200, 204)
        assert write(client1, method, address, body, **{"If-Match": seen}).status_code in (404, 412)
        assert sent_versions(task) == [1, 2]

    @pytest.mark.parametrize("altered", ALTERED)
    def test_who_wants_it_only_in_another_state_changes_nothing_through_a_proxy_either(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, altered: str
    ) -> None:
        known = altered.format(tag=client1.get(address)["ETag"].strip('"'))

        assert write(client1, method, address, body, **{"If-None-Match": known}).status_code == 412
        assert is_untouched(task)

    @pytest.mark.parametrize("foreign", FOREIGN)
    def test_a_tag_that_no_proxy_makes_names_no_state(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, foreign: str
    ) -> None:
        seen = foreign.format(tag=client1.get(address)["ETag"].strip('"'))

        assert write(client1, method, address, body, **{"If-Match": seen}).status_code == 412
        assert is_untouched(task)

    @pytest.mark.parametrize("seen", [STALE, f'{STALE}, "abc"', f"W/{STALE}"])
    def test_who_has_not_seen_it_changes_nothing(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, seen: str
    ) -> None:
        etag = client1.get(address)["ETag"]

        answer = write(client1, method, address, body, **{"If-Match": seen.format(etag=etag)})

        assert answer.status_code == 412
        assert "has changed" in answer.json()["detail"]
        assert is_untouched(task)

    def test_of_two_that_saw_the_same_the_second_is_refused(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body
    ) -> None:
        etag = client1.get(address)["ETag"]
        write(client1, "patch", address, {"description": "Birinchi"}, **{"If-Match": etag})

        assert write(client1, method, address, body, **{"If-Match": etag}).status_code == 412
        assert Task.objects.get().description == "Birinchi"
        assert sent_versions(task) == [1, 2]

    def test_a_write_that_wants_there_to_be_none_changes_nothing(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body
    ) -> None:
        assert write(client1, method, address, body, **{"If-None-Match": "*"}).status_code == 412
        assert is_untouched(task)

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_a_condition_that_means_nothing_is_refused(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, garbage: str
    ) -> None:
        answer = write(client1, method, address, body, **{"If-Match": garbage})

        assert answer.status_code == 400
        assert answer.json() == {"detail": "If-Match takes entity tags as they were sent, in quotes, or *."}
        assert is_untouched(task)

    def test_a_date_is_no_condition(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body
    ) -> None:
        headers = {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}

        assert write(client1, method, address, body, **headers).status_code in (200, 204)
        assert sent_versions(task) == [1, 2]

    def test_no_condition_is_needed(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body
    ) -> None:
        assert write(client1, method, address, body).status_code in (200, 204)
        assert sent_versions(task) == [1, 2]

    def test_a_condition_is_needed_where_the_operator_says_so(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, settings: Settings
    ) -> None:
        settings.REQUIRE_IF_MATCH = True

        answer = write(client1, method, address, body)

        assert answer.status_code == 428
        assert "If-Match" in answer.json()["detail"]
        assert is_untouched(task)

    def test_another_condition_is_not_the_one_that_is_needed(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, settings: Settings
    ) -> None:
        settings.REQUIRE_IF_MATCH = True

        assert write(client1, method, address, body, **{"If-None-Match": STALE}).status_code == 428
        assert is_untouched(task)

    def test_the_condition_that_is_needed_is_enough(
        self, client1: APIClient, address: str, task: Task, method: str, body: Body, settings: Settings
    ) -> None:
        settings.REQUIRE_IF_MATCH = True
        etag = client1.get(address)["ETag"]

        assert write(client1, method, address, body, **{"If-Match": etag}).status_code in (200, 204)

    @pytest.mark.parametrize("headers", [{"If-Match": STALE}, {"If-Match": "*"}, {"If-Match": "garbage"}, {}])
    def test_another_users_task_is_refused_whatever_the_condition(
        self,
        client2: APIClient,
        address: str,
        task: Task,
        method: str,
        body: Body,
        headers: dict[str, str],
        settings: Settings,
    ) -> None:
        settings.REQUIRE_IF_MATCH = True

        assert write(client2, method, address, body, **headers).status_code == 403
        assert is_untouched(task)

    @pytest.mark.parametrize("seen", [STALE, "*", "garbage"])
    def test_what_is_not_there_is_not_found_whatever_the_condition(
        self, client1: APIClient, method: str, body: Body, seen: str
    ) -> None:
        assert write(client1, method, "/tasks/999999/", body, **{"If-Match": seen}).status_code == 404


def test_a_bad_body_is_judged_after_the_condition(client1: APIClient, address: str, task: Task) -> None:
    etag = client1.get(address)["ETag"]

    assert write(client1, "patch", address, {"title": ""}, **{"If-Match": STALE}).status_code == 412
    assert write(client1, "patch", address, {"title": ""}, **{"If-Match": etag}).status_code == 400
    assert is_untouched(task)


def test_reads_and_creates_need_no_condition(client1: APIClient, address: str, settings: Settings) -> None:
    settings.REQUIRE_IF_MATCH = True

    assert client1.get(address).status_code == 200
    assert client1.post("/tasks/", {"title": "Yangi"}, format="json").status_code == 201


def test_no_mark_is_lost_by_many_who_write_only_what_they_have_seen(
    crowd: Crowd, client_of: ClientOf, user1: User, task: Task, address: str
) -> None:
    def leave_marks(number: int) -> list[str]:
        client = client_of(user1)
        marks = [f"<{number}.{count}>" for count in range(MARKS_OF_EACH)]
        for mark in marks:
            while not leave(client, mark):
                pass
        return marks

    def leave(client: APIClient, mark: str) -> bool:
        seen = client.get(address)
        body = {"description": seen.json()["description"] + mark}
        answer = write(client, "patch", address, body, **{"If-Match": seen["ETag"]})
        assert answer.status_code in (200, 412), answer.content
        return bool(answer.status_code == 200)

    marks = [mark for some in crowd(leave_marks) for mark in some]

    written = Task.objects.get()
    assert [written.description.count(mark) for mark in marks] == [1] * CROWD * MARKS_OF_EACH
    assert len(written.description) == len(task.description + "".join(marks))
    assert written.version == 1 + len(marks)
    assert sent_versions(task) == list(range(1, written.version + 1))


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_many_concurrent_writes_are_sent_without_gap_or_repeat(
    crowd: Crowd, client_of: ClientOf, user1: User, task: Task, address: str, postgresql_default: Any, isolation: str
) -> None:
    postgresql_default("default_transaction_isolation", isolation)

    def change_some(number: int) -> list[int]:
        client = client_of(user1)
        bodies: list[Body] = [
            {("title", "description")[number % 2]: f"{number}.{count}"} for count in range(MARKS_OF_EACH)
        ]
        answers = [write(client, "patch", address, body) for body in bodies]
        assert [answer.status_code for answer in answers] == [200] * MARKS_OF_EACH
        return [answer.json()["version"] for answer in answers]

    answered = [version for some in crowd(change_some) for version in some]

    last = 1 + CROWD * MARKS_OF_EACH
    assert sorted(answered) == list(range(2, last + 1))
    assert sent_versions(task) == list(range(1, last + 1))
    assert Task.objects.get().version == last


def test_of_many_who_saw_the_same_one_is_let_through(
    crowd: Crowd, client_of: ClientOf, user1: User, task: Task, address: str
) -> None:
    etag = client_of(user1).get(address)["ETag"]

    def retitle(number: int) -> int:
        answer = write(client_of(user1), "put", address, {"title": f"Vazifa {number}"}, **{"If-Match": etag})
        return int(answer.status_code)

    assert sorted(crowd(retitle)) == [200] + [412] * (CROWD - 1)
    assert sent_versions(task) == [1, 2]


def test_of_many_who_delete_one_is_let_through(
    crowd: Crowd, client_of: ClientOf, user1: User, task: Task, address: str
) -> None:
    etag = client_of(user1).get(address)["ETag"]

    def delete(number: int) -> int:
        return int(write(client_of(user1), "delete", address, None, **{"If-Match": etag}).status_code)

    assert sorted(crowd(delete)) == [204] + [404] * (CROWD - 1)
    assert sent_versions(task) == [1, 2]
