"""Many tasks changed or deleted in one request: all of them or none, each as a single request would have done it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from dramatiq import Message
from pytest_django import Settings
from rest_framework.test import APIClient

from actors.outbox.models import OutboxMessage
from project.local.servers.process import wait_until
from tasks import idempotency
from tasks.bulk import MAX_TASKS
from tasks.models import IdempotencyKey, Task
from tests.conftest import PASSWORD
from tests.unit.outbox.race_steps import in_another_thread
from tests.unit.schema_client import SchemaCheckingClient
from tests.unit.tasks.crowd import CROWD, Crowd, sent_versions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

BULK = "/tasks/bulk/"
STALE = '"1-0123456789abcdef"'
MAX_ID = 2**63 - 1
NO_INTEGERS: list[Any] = ["1", "a", "", 1.0, 1.5, True, False, [], [1], {}]
ROUNDS = 8
METHODS = pytest.mark.parametrize("method", ["patch", "delete"])
DONE = {"patch": 200, "delete": 204}

NOT_FOUND = {"detail": "Not found.", "code": "not_found"}
FORBIDDEN = {"detail": "You do not have permission to perform this action.", "code": "permission_denied"}
TWICE = {"detail": "This task is in the list more than once.", "code": "named_twice"}
REQUIRED = {
    "detail": "Say which state of the task you mean: send its ETag as if_match.",
    "code": "precondition_required",
}
CHANGED = {
    "detail": "The task has changed since you read it. Read it again, then decide.",
    "code": "precondition_failed",
}

ClientOf = Callable[[User], APIClient]


def make(owner: User, count: int) -> list[Task]:
    """Create tasks whose messages are gone."""
    tasks = Task.objects.bulk_create([Task(title=f"Vazifa {number}", owner=owner) for number in range(count)])
    OutboxMessage.objects.all().delete()
    return tasks


@pytest.fixture
def three(user1: User) -> list[Task]:
    return make(user1, 3)


@pytest.fixture
def foreign(three: list[Task], user2: User) -> Task:
    [task] = make(user2, 1)
    return task


CONDITION = ("id", "if_match")


def write(client: APIClient, method: str, body: Any, **headers: str) -> Any:
    if method == "delete" and isinstance(body, list):  # a deletion takes no values
        body = [
            {name: each[name] for name in CONDITION if name in each} if isinstance(each, dict) else each
            for each in body
        ]
    return getattr(client, method)(BULK, body, format="json", headers=headers)


def named(tasks: Sequence[Task], **values: Any) -> list[dict[str, Any]]:
    return [{"id": task.pk, **values} for task in tasks]


def etag(client: APIClient, task: Task) -> str:
    tag: str = client.get(f"/tasks/{task.pk}/")["ETag"]
    return tag


def events() -> list[tuple[str, Any, int | None, Any, str]]:
    """Return actor, task, number, changes and user of each message, in order."""
    rows = OutboxMessage.objects.order_by("pk")
    messages = [(row, Message.decode(bytes(row.body))) for row in rows]
    return [
        (row.actor, message.args[0], row.sequence, message.kwargs["details"]["changes"], row.changed_by)
        for row, message in messages
    ]


def is_untouched(*tasks: Task) -> bool:
    """Return whether the tasks are as they were, and nothing was sent."""
    fields = ("pk", "title", "description", "completed", "version", "updated_at")
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks]).order_by("pk").values_list(*fields)
    return not events() and list(stored) == [tuple(getattr(task, name) for name in fields) for task in tasks]


def waiting() -> int:
    """Return how many transactions wait for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


class TestChanges:
    def test_tasks_are_changed_and_answered_in_the_order_of_the_request(
        self, owner: SchemaCheckingClient, three: list[Task]
    ) -> None:
        first, second, third = three
        body = [{"id": third.pk, "completed": True}, {"id": first.pk, "title": " Bir ", "description": "😀\n"}]

        answer = write(owner, "patch", body)

        assert answer.status_code == 200
        assert [(task["id"], task["title"], task["description"], task["completed"]) for task in answer.json()] == [
            (third.pk, third.title, "", True),
            (first.pk, "Bir", "😀", False),
        ]
        assert answer.json() == [owner.get(f"/tasks/{task['id']}/").json() for task in answer.json()]
        assert [task["version"] for task in answer.json()] == [2, 2]
        assert Task.objects.filter(pk=second.pk, version=1, updated_at=second.updated_at).exists()

    def test_each_changed_task_is_sent_once_with_its_number_and_what_changed(
        self, owner: SchemaCheckingClient, three: list[Task]
    ) -> None:
        first, second, third = three
        write(owner, "patch", [{"id": second.pk, "title": "Ikki"}])
        write(owner, "patch", [{"id": second.pk, "completed": True}, {"id": first.pk, "title": "Bir"}])

        assert events() == [
            ("log_task_update", second.pk, 2, {"title": [second.title, "Ikki"]}, "user1"),
            ("log_task_update", first.pk, 2, {"title": [first.title, "Bir"]}, "user1"),
            ("log_task_update", second.pk, 3, {"completed": [False, True]}, "user1"),
        ]
        assert not OutboxMessage.objects.filter(subject__endswith=f":{third.pk}").exists()

    @pytest.mark.parametrize("values", [{}, {"completed": False}, {"title": " Vazifa 0 ", "description": ""}])
    def test_what_changes_nothing_is_answered_as_it_is_and_sends_nothing(
        self, owner: SchemaCheckingClient, three: list[Task], values: dict[str, Any]
    ) -> None:
        before = owner.get(f"/tasks/{three[0].pk}/").json()

        answer = write(owner, "patch", [{"id": three[0].pk, **values}, {"id": three[1].pk, "completed": True}])

        assert answer.json()[0] == before == owner.patch(f"/tasks/{three[0].pk}/", values, format="json").json()
        assert [event[1] for event in events()] == [three[1].pk]
        OutboxMessage.objects.all().delete()
        assert is_untouched(three[0])

    def test_a_list_that_was_read_may_be_edited_and_sent_back(
        self, owner: SchemaCheckingClient, three: list[Task]
    ) -> None:
        read = owner.get("/tasks/").json()["results"]

        answer = write(owner, "patch", [{**task, "completed": True} for task in read])

        assert answer.status_code == 200
        kept = [{name: task[name] for name in task if name != "updated_at"} for task in answer.json()]
        assert kept == [
            {name: (task | {"completed": True, "version": 2})[name] for name in task if name != "updated_at"}
            for task in read
        ]

    def test_what_is_not_a_clients_to_say_is_ignored(
        self, owner: SchemaCheckingClient, three: list[Task], user2: User
    ) -> None:
        forged = {"owner": "user2", "owner_id": user2.pk, "version": 99, "created_at": "2000-01-01T00:00Z"}

        [task] = write(owner, "patch", named(three[:1], title="Bir", **forged)).json()

        assert (task["title"], task["owner"], task["version"]) == ("Bir", "user1", 2)
        assert Task.objects.get(pk=three[0].pk).created_at == three[0].created_at

    @pytest.mark.parametrize(
        ("values", "errors"),
        [
            ({"title": ""}, {"title": ["This field may not be blank."]}),
            ({"title": None}, {"title": ["This field may not be null."]}),
            ({"title": 5}, {"title": ["Not a valid string."]}),
            ({"title": "a" * 201}, {"title": ["Ensure this field has no more than 200 characters."]}),
            ({"description": "\0"}, {"description": ["Null characters are not allowed."]}),
            ({"completed": "perhaps"}, {"completed": ["Must be a valid boolean."]}),
        ],
    )
    def test_a_bad_value_is_told_by_its_place_in_the_list_and_nothing_is_changed(
        self, owner: SchemaCheckingClient, three: list[Task], values: dict[str, Any], errors: dict[str, Any]
    ) -> None:
        answer = write(owner, "patch", [*named(three[:2], title="Boshqa"), *named(three[2:], **values)])

        assert (answer.status_code, answer.json()) == (400, {"2": errors})
        assert is_untouched(*three)


class TestDeletions:
    def test_tasks_are_deleted_and_each_is_sent_once(self, owner: SchemaCheckingClient, three: list[Task]) -> None:
        first, second, third = three
        owner.patch(f"/tasks/{third.pk}/", {"completed": True}, format="json")
        OutboxMessage.objects.all().delete()

        answer = write(owner, "delete", named([third, first]))

        assert (answer.status_code, answer.content) == (204, b"")
        assert list(Task.objects.all()) == [second]
        assert [(event[0], event[1], event[2], event[4]) for event in events()] == [
            ("log_task_deletion", first.pk, 2, "user1"),
            ("log_task_deletion", third.pk, 3, "user1"),
        ]

    def test_a_second_deletion_finds_nothing(self, owner: SchemaCheckingClient, three: list[Task]) -> None:
        assert [write(owner, "delete", named(three)).status_code for _ in range(2)] == [204, 404]


@METHODS
class TestLists:
    @pytest.mark.parametrize("count", [1, MAX_TASKS])
    def test_as_many_tasks_as_are_created_are_written(
        self, owner: SchemaCheckingClient, user1: User, method: str, count: int
    ) -> None:
        tasks = make(user1, count)

        assert write(owner, method, named(tasks, completed=True)[::-1]).status_code == DONE[method]
        assert Task.objects.filter(completed=False).count() == 0
        assert [event[1:3] for event in events()] == [(task.pk, 2) for task in tasks]
        queue = "activity" if count == 1 else "bulk"
        assert OutboxMessage.objects.filter(queue=queue).count() == count

    @pytest.mark.parametrize("count", [0, MAX_TASKS + 1])
    def test_too_few_and_too_many_are_refused(
        self, owner: SchemaCheckingClient, three: list[Task], method: str, count: int
    ) -> None:
        answer = write(owner, method, (named(three, title="Boshqa") * MAX_TASKS)[:count])

        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": f"Send 1 to 500 tasks at a time, not {count}."},
        )
        assert is_untouched(*three)

    @pytest.mark.parametrize("body", [{"id": 1}, {}, {"0": {"id": 1}}, "id", 5, True, None])
    def test_what_is_no_list_is_refused(self, owner: SchemaCheckingClient, method: str, body: Any) -> None:
        answer = write(owner, method, body)

        assert (answer.status_code, answer.json()) == (400, {"detail": "Send a list of tasks."})

    def test_a_request_without_a_body_is_refused(self, owner: SchemaCheckingClient, method: str) -> None:
        assert getattr(owner, method)(BULK).status_code == 400

    def test_a_field_that_there_is_not_is_told_by_its_place(
        self, owner: SchemaCheckingClient, three: list[Task], method: str
    ) -> None:
        answer = getattr(owner, method)(BULK, named(three, completedd=True), format="json")

        there_is_none = {"completedd": ["There is no such field."]}
        assert (answer.status_code, answer.json()) == (400, dict.fromkeys("012", there_is_none))
        assert is_untouched(*three)

    @pytest.mark.parametrize("item", ["a", 5, True, [], [{"id": 1}], None])
    def test_what_is_no_task_is_told_by_its_place(
        self, owner: SchemaCheckingClient, three: list[Task], method: str, item: Any
    ) -> None:
        answer = write(owner, method, [*named(three, title="Boshqa"), item])

        assert (answer.status_code, list(answer.json())) == (400, ["3"])
        assert is_untouched(*three)

    @pytest.mark.parametrize(
        ("number", "message"),
        [
            *((number, "A valid integer is required.") for number in NO_INTEGERS),
            (None, "This field may not be null."),
            *((number, "Ensure this value is greater than or equal to 1.") for number in (0, -1, -(10**30))),
            *((number, f"Ensure this value is less than or equal to {MAX_ID}.") for number in (MAX_ID + 1, 10**300)),
        ],
    )
    def test_what_is_no_id_is_told_by_its_place(
        self, owner: SchemaCheckingClient, three: list[Task], method: str, number: Any, message: str
    ) -> None:
        answer = write(owner, method, [*named(three, title="Boshqa"), {"id": number}])

        assert (answer.status_code, answer.json()) == (400, {"3": {"id": [message]}})
        assert is_untouched(*three)

    def test_a_number_of_no_end_is_no_id(self, owner: SchemaCheckingClient, method: str) -> None:
        text = f'[{{"id": {"9" * 100_000}}}, {{"id": 1e400}}]'

        assert getattr(owner, method)(BULK, text, content_type="application/json").status_code == 400

    def test_an_id_is_needed(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        answer = write(owner, method, [{"title": "Boshqa", "completed": True}, *named(three)])

        assert (answer.status_code, answer.json()) == (400, {"0": {"id": ["This field is required."]}})
        assert is_untouched(*three)

    @pytest.mark.parametrize("condition", ["1-0123456789abcdef", "W/abc", '"', ",", "**", '*, "abc"', 5, '"a\0"'])
    def test_a_condition_that_means_nothing_is_told_by_its_place(
        self, owner: SchemaCheckingClient, three: list[Task], method: str, condition: Any
    ) -> None:
        answer = write(owner, method, [*named(three[:1], title="Boshqa"), {"id": three[1].pk, "if_match": condition}])

        assert (answer.status_code, list(answer.json()), list(answer.json()["1"])) == (400, ["1"], ["if_match"])
        assert is_untouched(*three)

    @pytest.mark.parametrize("condition", [None, "", " ", True, [], ["*"]])
    def test_a_condition_is_a_text_or_left_out(
        self, owner: SchemaCheckingClient, three: list[Task], method: str, condition: Any
    ) -> None:
        answer = write(owner, method, named(three, title="Boshqa", if_match=condition))

        assert (answer.status_code, sorted(answer.json())) == (400, ["0", "1", "2"])
        assert is_untouched(*three)

    def test_the_largest_id_is_not_there(self, owner: SchemaCheckingClient, method: str) -> None:
        answer = write(owner, method, [{"id": MAX_ID}])

        assert (answer.status_code, answer.json()) == (404, {"0": NOT_FOUND})


@METHODS
class TestRefusals:
    def refused(self, client: APIClient, method: str, body: list[dict[str, Any]]) -> tuple[int, Any]:
        answer = write(client, method, [{**item, "title": "Boshqa"} for item in body])
        return answer.status_code, answer.json()

    def test_what_is_not_there_is_a_404(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        body = [*named(three), {"id": three[-1].pk + 1}]

        assert self.refused(owner, method, body) == (404, {"3": NOT_FOUND})
        assert is_untouched(*three)

    def test_what_is_anothers_is_a_403(
        self, owner: SchemaCheckingClient, three: list[Task], foreign: Task, method: str
    ) -> None:
        assert self.refused(owner, method, named([*three, foreign])) == (403, {"3": FORBIDDEN})
        assert is_untouched(*three, foreign)

    def test_the_staff_may_not_either(self, three: list[Task], method: str, client_of: ClientOf) -> None:
        staff = client_of(User.objects.create_superuser("admin", password=PASSWORD))

        assert self.refused(staff, method, named(three)) == (403, dict.fromkeys("012", FORBIDDEN))
        assert is_untouched(*three)

    def test_what_is_named_twice_is_a_400(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        body = [*named(three), *named(three[::2])]

        assert self.refused(owner, method, body) == (400, {"3": TWICE, "4": TWICE})
        assert is_untouched(*three)

    def test_what_has_changed_is_a_412(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        body = [{"id": task.pk, "if_match": etag(owner, task)} for task in three]
        Task.objects.filter(pk=three[1].pk).update(completed=True)
        OutboxMessage.objects.all().delete()
        three[1].refresh_from_db()

        assert self.refused(owner, method, body) == (412, {"1": CHANGED})
        assert is_untouched(*three)

    def test_a_state_is_needed_where_the_operator_says_so(
        self, owner: SchemaCheckingClient, three: list[Task], method: str, settings: Settings
    ) -> None:
        settings.REQUIRE_IF_MATCH = True
        body = [{"id": three[0].pk, "if_match": etag(owner, three[0])}, *named(three[1:])]

        assert self.refused(owner, method, body) == (428, {"1": REQUIRED, "2": REQUIRED})
        assert is_untouched(*three)
        body = [{"id": task.pk, "if_match": etag(owner, task)} for task in three]
        assert write(owner, method, body).status_code == DONE[method]

    def test_refusals_of_several_kinds_are_a_400_that_has_them_all(
        self, owner: SchemaCheckingClient, three: list[Task], foreign: Task, method: str
    ) -> None:
        body: list[dict[str, Any]] = [{"id": MAX_ID}, {"id": foreign.pk, "if_match": STALE}]
        body += [{"id": three[0].pk, "if_match": "*"}, {"id": three[1].pk, "if_match": STALE}, {"id": three[0].pk}]

        assert self.refused(owner, method, body) == (
            400,
            {"0": NOT_FOUND, "1": FORBIDDEN, "3": CHANGED, "4": TWICE},
        )
        assert is_untouched(*three, foreign)

    def test_if_match_in_the_head_of_the_request_is_refused(
        self, owner: SchemaCheckingClient, three: list[Task], method: str
    ) -> None:
        answer = write(owner, method, named(three, title="Boshqa"), **{"If-Match": etag(owner, three[0])})

        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": "If-Match is about one task. Send the ETag of each as its if_match."},
        )
        assert is_untouched(*three)

    def test_an_unsigned_client_is_refused(self, visitor: SchemaCheckingClient, three: list[Task], method: str) -> None:
        assert write(visitor, method, named(three, title="Boshqa")).status_code == 401
        assert is_untouched(*three)

    def test_a_message_that_cannot_be_written_undoes_all(
        self, client1: APIClient, three: list[Task], method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for actor in ("log_task_update", "log_task_deletion"):
            monkeypatch.setattr(f"tasks.signals.{actor}.message_with_options", lambda **options: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            write(client1, method, named(three, title="Boshqa"))
        assert is_untouched(*three)


@METHODS
@pytest.mark.parametrize("form", ["{etag}", "W/{etag}", ' "abc",{etag} ', "*"])
def test_a_task_in_the_state_that_is_named_is_written(
    owner: SchemaCheckingClient, three: list[Task], method: str, form: str
) -> None:
    body = [{"id": task.pk, "completed": True, "if_match": form.format(etag=etag(owner, task))} for task in three[:2]]

    assert write(owner, method, [*body, *named(three[2:], completed=True)]).status_code == DONE[method]
    assert [event[1:3] for event in events()] == [(task.pk, 2) for task in three]


@METHODS
def test_a_task_whose_tag_a_proxy_gave_a_suffix_is_written(
    owner: SchemaCheckingClient, three: list[Task], method: str
) -> None:
    body = named(three[:1], completed=True, if_match=f'{etag(owner, three[0])[:-1]}-gzip"')

    assert write(owner, method, body).status_code == DONE[method]


def test_a_tag_of_before_a_bulk_change_is_stale_after_it(owner: SchemaCheckingClient, three: list[Task]) -> None:
    body = [{"id": task.pk, "completed": True, "if_match": etag(owner, task)} for task in three]

    assert [write(owner, "patch", body).status_code for _ in range(2)] == [200, 412]
    assert len(events()) == 3


@METHODS
def test_more_tasks_cost_no_more_queries(owner: SchemaCheckingClient, user1: User, method: str) -> None:
    def queries(count: int) -> int:
        body = [{"id": task.pk, "title": f"Boshqa {task.pk}", "completed": True} for task in make(user1, count)]
        with CaptureQueriesContext(connection) as captured:
            assert write(owner, method, body).status_code == DONE[method]
        return len(captured)

    few, many = queries(2), queries(MAX_TASKS)

    assert few <= 14
    assert many - few == (4 if method == "delete" else 0)  # Django deletes a hundred rows at a time


@METHODS
class TestIdempotencyKeys:
    def test_the_same_key_writes_once(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        first, again = (
            write(owner, method, named(three, completed=True), **{idempotency.HEADER: "bir"}) for _ in range(2)
        )

        assert (first.status_code, idempotency.REPLAYED in first) == (DONE[method], False)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again[idempotency.REPLAYED] == "true"
        assert again.get("Content-Type") == first.get("Content-Type")
        assert len(events()) == 3

    def test_another_request_under_the_same_key_is_refused(
        self, owner: SchemaCheckingClient, three: list[Task], method: str
    ) -> None:
        key = {idempotency.HEADER: "bir"}
        body = named(three, title="Boshqa")
        write(owner, method, body, **key)
        others = [(method, body[::-1]), (method, body[:2]), ("delete" if method == "patch" else "patch", body)]

        assert [write(owner, other, said, **key).status_code for other, said in [*others, ("post", body)]] == [422] * 4
        assert len(events()) == 3

    def test_a_refusal_is_not_kept(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        key = {idempotency.HEADER: "bir"}
        assert write(owner, method, [*named(three), {"id": MAX_ID}], **key).status_code == 404
        assert not IdempotencyKey.objects.exists()
        assert write(owner, method, named(three, completed=True), **key).status_code == DONE[method]

    def test_what_is_no_key_is_refused(self, owner: SchemaCheckingClient, three: list[Task], method: str) -> None:
        assert write(owner, method, named(three, title="Boshqa"), **{idempotency.HEADER: "a b"}).status_code == 400
        assert is_untouched(*three)

    def test_of_many_at_once_one_writes_and_the_others_are_put_off_or_answered_alike(
        self, crowd: Crowd, client_of: ClientOf, user1: User, three: list[Task], method: str
    ) -> None:
        def send(_number: int) -> Any:
            return write(client_of(user1), method, named(three, completed=True), **{idempotency.HEADER: "bir"})

        answers = crowd(send)

        done = [answer for answer in answers if answer.status_code == DONE[method]]
        put_off = [answer for answer in answers if answer.status_code == 409]
        assert len(done) + len(put_off) == CROWD
        assert len([answer for answer in done if idempotency.REPLAYED not in answer]) == 1
        assert {answer.content for answer in done} == {done[0].content}
        assert len(events()) == 3


@METHODS
def test_a_browsers_session_may_and_gets_a_page(user1: User, three: list[Task], method: str) -> None:
    browser = APIClient()
    assert browser.login(username="user1", password=PASSWORD)

    answer = write(browser, method, named(three, completed=True), Accept="text/html")

    # DRF's page says that a deletion had no content, and is some.
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert len(events()) == 3


@METHODS
def test_a_list_counts_as_one_request(
    owner: SchemaCheckingClient, three: list[Task], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.api.throttles.UserRateThrottle.THROTTLE_RATES", {"user": "2/hour", "anon": None})
    cache.clear()

    answers = [write(owner, method, named([task], completed=True)) for task in three]
    cache.clear()

    assert [answer.status_code for answer in answers] == [DONE[method]] * 2 + [429]


def test_as_much_as_a_body_may_hold_is_changed(owner: SchemaCheckingClient, user1: User, settings: Settings) -> None:
    tasks = make(user1, MAX_TASKS)
    body = [{"id": task.pk, "title": f"{task.pk} " + "a" * 190, "description": "b" * 1_800} for task in tasks]
    assert 0.95 < len(json.dumps(body)) / settings.MAX_BODY_BYTES < 1

    assert [len(task["description"]) for task in write(owner, "patch", body).json()] == [1_800] * MAX_TASKS
    assert Task.objects.filter(title__endswith="a" * 190, version=2).count() == MAX_TASKS


class TestAtOnce:
    @pytest.mark.parametrize(("one", "other"), [("patch", "patch"), ("patch", "delete"), ("delete", "patch")])
    def test_two_that_name_the_same_tasks_in_opposite_orders_do_not_deadlock(
        self, crowd: Crowd, client_of: ClientOf, user1: User, three: list[Task], one: str, other: str
    ) -> None:
        statuses: list[int] = []

        def send(method: str, tasks: list[Task]) -> None:
            statuses.append(write(client_of(user1), method, named(tasks, completed=True)).status_code)

        with transaction.atomic():
            Task.objects.select_for_update(no_key=True).get(pk=three[1].pk)
            # Each of them now locks what it can: in its own order it would be the first task, and the last.
            threads = [in_another_thread(lambda: send(one, three)), in_another_thread(lambda: send(other, three[::-1]))]
            assert wait_until(lambda: waiting() == 2, timeout_seconds=30)
        for thread in threads:
            thread.join()

        assert sorted(statuses) in ([200, 200], [200, 204], [204, 404])  # whichever was first

    def test_changes_of_the_same_tasks_come_one_after_another(
        self, crowd: Crowd, client_of: ClientOf, user1: User
    ) -> None:
        tasks = make(user1, 5)

        def change(number: int) -> list[Any]:
            ordered = tasks[:: 1 if number % 2 else -1]
            client = client_of(user1)
            return [write(client, "patch", named(ordered, title=f"{number}.{count}")).json() for count in range(ROUNDS)]

        answers = [answer for some in crowd(change) for answer in some]

        # Each change is as a whole before or after each other one.
        versions = [{task["version"] for task in answer} for answer in answers]
        assert sorted(versions, key=max) == [{number} for number in range(2, 2 + CROWD * ROUNDS)]
        for task in tasks:
            assert sent_versions(task) == list(range(2, 2 + CROWD * ROUNDS))

    def test_of_overlapping_changes_of_one_state_each_is_made_or_refused_as_a_whole(
        self, crowd: Crowd, client_of: ClientOf, user1: User
    ) -> None:
        tasks = make(user1, CROWD + 1)
        tags = {task.pk: etag(client_of(user1), task) for task in tasks}

        def change(number: int) -> int:
            chosen = tasks[number : number + 2][:: 1 if number % 2 else -1]
            body = [{"id": task.pk, "title": f"By {number}", "if_match": tags[task.pk]} for task in chosen]
            return int(write(client_of(user1), "patch", body).status_code)

        statuses = crowd(change)

        assert set(statuses) <= {200, 412}
        made = [number for number in range(CROWD) if statuses[number] == 200]
        expected = {tasks[number + step].pk: f"By {number}" for number in made for step in (0, 1)}
        assert made
        assert len(expected) == 2 * len(made) == len(events())
        assert dict(Task.objects.filter(title__startswith="By").values_list("pk", "title")) == expected

    def test_no_mark_is_lost_beside_single_changes(
        self, crowd: Crowd, client_of: ClientOf, user1: User, three: list[Task]
    ) -> None:
        def leave_marks(number: int) -> list[str]:
            client = client_of(user1)
            marks = [f"<{number}.{count}>" for count in range(ROUNDS // 2)]
            for mark in marks:
                while not leave(client, mark, alone=number % 2 == 0):
                    pass
            return marks

        def leave(client: APIClient, mark: str, *, alone: bool) -> bool:
            seen = [client.get(f"/tasks/{task.pk}/") for task in three]
            values = [{"description": read.json()["description"] + mark} for read in seen]
            if alone:
                headers = {"If-Match": seen[0]["ETag"]}
                answer = client.patch(f"/tasks/{three[0].pk}/", values[0], format="json", headers=headers)
            else:
                body = [
                    {"id": read.json()["id"], "if_match": read["ETag"], **value}
                    for read, value in zip(seen, values, strict=True)
                ]
                answer = write(client, "patch", body)
            assert answer.status_code in (200, 412), answer.content
            return bool(answer.status_code == 200)

        marks = crowd(leave_marks)

        of_all = [mark for some in marks for mark in some]
        of_many = [mark for some in marks[1::2] for mark in some]
        for task, expected in zip(three, (of_all, of_many, of_many), strict=True):
            task.refresh_from_db()
            assert [task.description.count(mark) for mark in expected] == [1] * len(expected)
            assert len(task.description) == len("".join(expected))
            assert sent_versions(task) == list(range(2, task.version + 1))
            assert task.version == 1 + len(expected)

    def test_a_deletion_comes_before_or_after_each_change_as_a_whole(
        self, crowd: Crowd, client_of: ClientOf, user1: User, three: list[Task]
    ) -> None:
        def write_some(number: int) -> list[Any]:
            client = client_of(user1)
            if number == 0:
                return [write(client, "delete", named(three[::-1]))]
            return [write(client, "patch", named(three, title=f"{number}.{count}")) for count in range(ROUNDS)]

        [[deletion], *changes] = crowd(write_some)

        assert deletion.status_code == 204
        answers = [answer for some in changes for answer in some]
        refused = [answer for answer in answers if answer.status_code == 404]
        made = [answer for answer in answers if answer.status_code == 200]
        assert len(made) + len(refused) == len(answers)
        assert all(answer.json() == dict.fromkeys("012", NOT_FOUND) for answer in refused)
        assert not Task.objects.exists()
        for task in three:
            assert sent_versions(task) == list(range(2, 2 + len(made) + 1))
