"""Pages of tasks: of five or `page_size`, each task on exactly one, by a constant number of queries."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from tasks.models import Task
from tests.tokens import bearer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]


@pytest.fixture
def make_tasks(user1: User) -> Callable[[int], list[int]]:
    """Make tasks that were all created at the same moment, every third completed, and return their ids."""

    def make(number: int) -> list[int]:
        tasks = Task.objects.bulk_create(Task(title=str(n), owner=user1, completed=n % 3 == 0) for n in range(number))
        Task.objects.update(created_at=timezone.now())
        return sorted(task.pk for task in tasks)

    return make


def walk(client: APIClient, address: str) -> Iterator[list[int]]:
    """Yield the ids on each page, following the links."""
    following: str | None = address
    while following:
        page = client.get(following).json()
        yield [task["id"] for task in page["results"]]
        following = page["next"]


def test_a_page_has_five_tasks_and_says_where_the_others_are(
    owner: APIClient, make_tasks: Callable[[int], list[int]]
) -> None:
    make_tasks(12)

    first, second, third = (owner.get("/tasks/", {"page": number}).json() for number in (1, 2, 3))

    assert [len(page["results"]) for page in (first, second, third)] == [5, 5, 2]
    assert list(first) == ["count", "next", "previous", "results"]
    assert (first["count"], first["previous"], third["next"]) == (12, None, None)
    assert first["next"] == "http://testserver/tasks/?page=2"
    assert second["previous"] == "http://testserver/tasks/"


def test_without_tasks_there_is_an_empty_first_page(owner: APIClient) -> None:
    assert owner.get("/tasks/").json() == {"count": 0, "next": None, "previous": None, "results": []}


@pytest.mark.parametrize(
    ("page_size", "shown"), [("1", 1), ("3", 3), ("007", 7), ("100", 100), ("101", 100), ("1000000", 100)]
)
def test_a_page_has_as_many_tasks_as_asked_for_and_never_more_than_100(
    owner: APIClient, make_tasks: Callable[[int], list[int]], page_size: str, shown: int
) -> None:
    make_tasks(102)

    assert len(owner.get("/tasks/", {"page_size": page_size}).json()["results"]) == shown


@pytest.mark.parametrize("page_size", ["0", "000", "-1", "1.5", "five", "5 ", "٣", "1e1", "5\0", "9" * 5000])
def test_a_page_size_that_means_nothing_is_refused(owner: APIClient, page_size: str) -> None:
    response = owner.get("/tasks/", {"page_size": page_size})

    assert response.status_code == 400
    assert response.json() == {"page_size": ["Enter a whole number from 1 to 100."]}


@pytest.mark.parametrize("page", ["0", "-1", "2", "1.5", "first", "1\0", "\0", "9" * 30, "9" * 5000, "[]"])
def test_an_unknown_page_is_not_found(owner: APIClient, task: Task, page: str) -> None:
    response = owner.get("/tasks/", {"page": page})

    assert (response.status_code, response.json()) == (404, {"detail": "Invalid page."})


@pytest.mark.parametrize("ordering", [None, "created_at", "-created_at", "completed", "-completed"])
def test_each_task_is_on_exactly_one_page_although_all_are_of_one_moment(
    owner: APIClient, make_tasks: Callable[[int], list[int]], ordering: str | None
) -> None:
    ids = make_tasks(23)
    if ordering and "completed" in ordering:
        ids = [task_id for n, task_id in enumerate(ids) if n % 3] + ids[::3]
    if ordering and ordering.startswith("-"):
        ids.reverse()

    pages = list(walk(owner, f"/tasks/?ordering={ordering}" if ordering else "/tasks/"))

    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert [task_id for page in pages for task_id in page] == ids


@pytest.mark.parametrize(
    ("ordering", "last"),
    [(None, "ASC"), ("created_at", "ASC"), ("-created_at", "DESC"), ("completed", "ASC"), ("-completed", "DESC")],
)
def test_the_database_is_asked_to_break_every_tie_by_id(
    owner: APIClient, task: Task, ordering: str | None, last: str
) -> None:
    # An index may give this order by chance: that the tasks are in it proves nothing.
    with CaptureQueriesContext(connection) as queries:
        owner.get("/tasks/", {"ordering": ordering} if ordering else {})

    statement = queries[-1]["sql"]
    assert statement.startswith('SELECT "tasks_task"."id"')
    assert f", 1 {last} LIMIT" in statement  # by the first of what is selected


def test_links_keep_filters_and_sizes(owner: APIClient, make_tasks: Callable[[int], list[int]]) -> None:
    ids = make_tasks(9)

    pages = list(walk(owner, "/tasks/?completed=false&page_size=4&ordering=-created_at"))

    assert pages == [[ids[n] for n in (8, 7, 5, 4)], [ids[n] for n in (2, 1)]]


def test_the_number_of_queries_does_not_depend_on_the_size_of_the_page(
    user1: User, make_tasks: Callable[[int], list[int]]
) -> None:
    make_tasks(100)
    Task.objects.filter(title__endswith="7").update(owner=User.objects.create_user("user3"))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user1))

    numbers = []
    for page_size in (5, 100):
        with CaptureQueriesContext(connection) as queries:
            response = client.get("/tasks/", {"page_size": page_size})
        assert len(response.json()["results"]) == page_size
        numbers.append(len(queries))

    assert numbers == [3, 3]  # the user, the count, the page


def test_a_task_is_read_with_two_queries(user1: User, task: Task) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user1))

    with CaptureQueriesContext(connection) as queries:
        client.get(f"/tasks/{task.pk}/")

    assert len(queries) == 2  # the user, the task with its owner
