"""Lists of tasks: filtered, searched, ordered; invalid values are refused, not ignored."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from actors.outbox.db.search import APOSTROPHES
from tasks.models import Task

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

Titles = Callable[..., list[str]]


@pytest.fixture
def some_tasks(user1: User, user2: User) -> None:
    """Four tasks, made in the order of their names: a and b of user1, c and d of user2; b and d completed."""
    for title, owner in (("a", user1), ("b", user1), ("c", user2), ("d", user2)):
        Task.objects.create(title=title, description=title * 3, owner=owner, completed=title in "bd")


@pytest.fixture
def titles(owner: APIClient) -> Titles:
    """List tasks with these parameters and return their titles."""

    def listed(**parameters: Any) -> list[str]:
        response = owner.get("/tasks/", parameters)
        assert response.status_code == 200, response.content
        return [task["title"] for task in response.json()["results"]]

    return listed


@pytest.mark.usefixtures("some_tasks")
class TestFilters:
    @pytest.mark.parametrize("value", ["true", "True", "TRUE", "1"])
    def test_completed_tasks(self, titles: Titles, value: str) -> None:
        assert titles(completed=value) == ["b", "d"]

    @pytest.mark.parametrize("value", ["false", "False", "FALSE", "0"])
    def test_tasks_to_be_done(self, titles: Titles, value: str) -> None:
        assert titles(completed=value) == ["a", "c"]

    def test_tasks_of_an_owner_by_id(self, titles: Titles, user2: User) -> None:
        assert titles(owner=user2.pk) == ["c", "d"]

    def test_tasks_of_an_owner_by_username(self, titles: Titles) -> None:
        assert titles(owner_username="user2") == ["c", "d"]

    def test_a_username_is_matched_whole(self, titles: Titles) -> None:
        assert titles(owner_username="user") == []

    @pytest.mark.parametrize("unknown", [999_999_999, 2**63 - 1])
    def test_an_unknown_owner_has_no_tasks(self, titles: Titles, unknown: int) -> None:
        assert titles(owner=unknown) == []

    def test_filters_narrow_each_other(self, titles: Titles, user1: User) -> None:
        assert titles(completed="true", owner=user1.pk, owner_username="user1", search="bbb") == ["b"]
        assert titles(completed="false", owner=user1.pk, search="bbb") == []

    def test_filters_search_and_order_go_together(self, titles: Titles) -> None:
        assert titles(owner_username="user2", ordering="-completed") == ["d", "c"]


class TestSearch:
    @pytest.fixture(autouse=True)
    def searchable_tasks(self, user1: User) -> None:
        Task.objects.create(title="Non olish", description="Bozordan, ertalab", owner=user1)
        Task.objects.create(title="Kitob o'qish", description="100% tugatish", owner=user1)
        Task.objects.create(title="Купить ХЛЕБ", description="Ўткан кунлар", owner=user1)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            pytest.param("non", ["Non olish"], id="title"),
            pytest.param("bozor", ["Non olish"], id="description"),
            pytest.param("NON", ["Non olish"], id="in capitals"),
            pytest.param("ish", ["Non olish", "Kitob o'qish"], id="part of a word"),
            pytest.param("olish ertalab", ["Non olish"], id="two words, one in each"),
            pytest.param("ertalab,olish", ["Non olish"], id="with a comma"),
            pytest.param('"Kitob o\'qish"', ["Kitob o'qish"], id="a phrase"),
            pytest.param('"olish Non"', [], id="a phrase in another order"),
            pytest.param("100%", ["Kitob o'qish"], id="a percent sign is no wildcard"),
            pytest.param("n_n", [], id="an underline is no wildcard"),
            pytest.param("ХЛЕБ", ["Купить ХЛЕБ"], id="Cyrillic"),
            pytest.param("Ўткан", ["Купить ХЛЕБ"], id="Uzbek Cyrillic"),
            pytest.param("'; DROP TABLE tasks_task; --", [], id="SQL"),
            pytest.param("\\olish", [], id="a backslash"),
            pytest.param("n olish", ["Non olish"], id="a short word beside a longer one"),
            pytest.param("user1", [], id="owners are not searched"),
        ],
    )
    def test_search_looks_into_title_and_description(self, titles: Titles, text: str, found: list[str]) -> None:
        assert titles(search=text) == found

    @pytest.mark.parametrize("text", ["хлеб", "ХЛЕБ", "ўткан", "ЎТКАН", "куПИть Кунлар"])
    def test_cyrillic_is_found_in_any_case(self, titles: Titles, text: str) -> None:
        assert titles(search=text) == ["Купить ХЛЕБ"]

    @pytest.mark.parametrize("typed", APOSTROPHES)
    def test_all_apostrophes_are_alike(self, titles: Titles, user1: User, typed: str) -> None:
        Task.objects.create(title="O‘QUV", description=f"Ta{typed}til, maktabda", owner=user1)

        for apostrophe in "'ʻʼ‘’`":
            assert titles(search=f"o{apostrophe}q ta{apostrophe}til") == ["O‘QUV"]
            assert titles(search=f"o{apostrophe}q") == ["Kitob o'qish", "O‘QUV"]
            assert titles(search=f"ta{apostrophe}t") == ["O‘QUV"]

    @pytest.mark.parametrize("text", ["'", '"', ",", "\"\" , ''", "ʻ", "’,‘"])
    @pytest.mark.parametrize("path", ["/tasks/", "/tasks/export/", "/tasks/?pagination=cursor"])
    def test_a_search_without_a_word_is_refused(self, owner: APIClient, path: str, text: str) -> None:
        response = owner.get(path, {"search": text})

        assert response.status_code == 400
        assert response.json() == {"search": ["Enter a word: quotation marks and commas are none."]}

    def test_words_are_few(self, owner: APIClient) -> None:
        words = [f"{number:03x}" for number in range(6)]
        asked = []
        for search in (words[1:] * 2, words[:6]):
            with CaptureQueriesContext(connection) as queries:
                response = owner.get("/tasks/", {"search": " ".join(search)})
            asked.append((response.status_code, [query["sql"].count(" OR ") for query in queries]))

        # Five words in one count: title or description, each.
        assert asked == [(200, [5]), (400, [])]
        assert response.json() == {
            "search": ["Enter at most 5 different words; a phrase in quotation marks is one."],
        }

    @pytest.mark.parametrize("text", ["o", "5", "uy", "ЎҚ", "uy is,5 a b", '"a b"', "++", "24%", "'uy'", "\\"])
    @pytest.mark.parametrize("path", ["/tasks/", "/tasks/export/", "/tasks/?pagination=cursor"])
    def test_short_words_alone_are_refused(self, owner: APIClient, path: str, text: str) -> None:
        response = owner.get(path, {"search": text})

        assert response.status_code == 400
        assert response.json() == {
            "search": ["Enter a word of at least 3 letters or digits; shorter ones may stand beside it."]
        }

    @pytest.mark.parametrize("text", ["o'q", "soʻz", "ЎТК", "100", "o'z uy", "kitob 5", "uy ishi", '"a b" olish'])
    def test_a_longer_word_narrows_a_search_for_short_ones(self, owner: APIClient, text: str) -> None:
        assert owner.get("/tasks/", {"search": text}).status_code == 200

    def test_a_whole_title_can_be_searched_for(self, titles: Titles, user1: User) -> None:
        title = "so'z " * 39 + "oxiri"
        Task.objects.create(title=title, owner=user1)
        assert len(title) == 200
        assert titles(search=title) == [title]


@pytest.mark.usefixtures("some_tasks")
class TestOrdering:
    @pytest.mark.parametrize(
        ("ordering", "expected"),
        [
            pytest.param(None, "abcd", id="by age if nothing is asked for"),
            pytest.param("created_at", "abcd", id="by age"),
            pytest.param("-created_at", "dcba", id="youngest first"),
            pytest.param("completed", "acbd", id="to be done first"),
            pytest.param("-completed", "dbca", id="completed first"),
            pytest.param("completed,-created_at", "cadb", id="by both"),
            pytest.param("-completed,created_at", "bdac", id="by both, the other way"),
            pytest.param("created_at,created_at,-created_at", "abcd", id="said again and again"),
        ],
    )
    def test_a_list_is_in_the_order_asked_for(self, titles: Titles, ordering: str | None, expected: str) -> None:
        parameters = {} if ordering is None else {"ordering": ordering}
        assert titles(**parameters) == list(expected)

    @pytest.mark.parametrize(
        ("ordering", "unknown"),
        [
            ("title", "title"),
            ("id", "id"),
            ("owner__password", "owner__password"),
            ("created_at,nothing", "nothing"),
            ("-", "-"),
            ("--created_at", "--created_at"),
            ("?", "?"),
            ("created_at;", "created_at;"),
            ("\0", "\0"),
        ],
    )
    def test_an_order_that_there_is_not_is_refused(self, owner: APIClient, ordering: str, unknown: str) -> None:
        response = owner.get("/tasks/", {"ordering": ordering})

        assert response.status_code == 400
        assert response.json() == {"ordering": [f"Cannot order by {unknown}; choose from: created_at, completed."]}

    def test_an_order_repeated_without_end_is_one_order(self, owner: APIClient) -> None:
        response = owner.get("/tasks/", {"ordering": ",".join(["created_at", "-completed"] * 2000)})

        assert response.status_code == 200


@pytest.mark.parametrize(
    ("parameters", "name", "gist"),
    [
        pytest.param({"completed": value}, "completed", "Enter true or false.", id=f"completed={value!r}")
        for value in ("perhaps", "2", "yes", "null", "tru\0e", "true,false", "[]", "t" * 5000)
    ]
    + [
        pytest.param({"owner": value}, "owner", "Enter a whole number.", id=f"owner={value[:9]!r}")
        for value in ("user1", "1.5", "1e3", "\0", "1 OR 1=1", "0x1", "true", "9" * 5000)
    ]
    + [
        pytest.param({"owner": 2**63}, "owner", "less than or equal to 9223372036854775807", id="owner too large"),
        pytest.param({"owner": 0}, "owner", "greater than or equal to 1", id="owner=0"),
        pytest.param({"owner": -1}, "owner", "greater than or equal to 1", id="owner=-1"),
        pytest.param({"owner_username": "us\0er"}, "owner_username", "Null characters", id="NUL in a username"),
        pytest.param({"search": "no\0n"}, "search", "Null characters", id="NUL in a search"),
        pytest.param({"search": "a" * 201}, "search", "no more than 200 characters", id="a search too long"),
        pytest.param({"search": "a " * 5000}, "search", "no more than 200 characters", id="a search of 5000 words"),
        pytest.param({"completed": "true", "owner": "x"}, "owner", "whole number", id="one good, one bad"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(
    owner: APIClient, parameters: dict[str, Any], name: str, gist: str
) -> None:
    response = owner.get("/tasks/", parameters)

    assert response.status_code == 400
    assert list(response.json()) == [name]
    assert gist in response.json()[name][0]


@pytest.mark.parametrize(
    "query", ["search=bir%ED%A0%80", "search=bir%FF%FE", "owner_username=%ED%A0%80", "search=bir%"]
)
def test_a_query_that_is_not_utf8_finds_nothing_and_breaks_nothing(owner: APIClient, task: Task, query: str) -> None:
    response = owner.get(f"/tasks/?{query}")

    assert (response.status_code, response.json()["results"]) == (200, [])


def test_a_query_of_more_parameters_than_any_form_has_is_refused(owner: APIClient) -> None:
    response = owner.get("/tasks/?" + "a=1&" * 1001)

    assert (response.status_code, response.json()) == (400, {"detail": "Malformed request."})
