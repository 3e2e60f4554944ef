"""Tasks as a file: all tasks that the list has under the same filters, with one chunk in memory at a time."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.sql import compiler
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from actors.rest.places import Places
from tasks import export as export_module
from tasks.export import BLANKS, BOM, BREAKS, FORMULA, PIECE, CsvRenderer
from tasks.models import Task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

EXPORT = "/tasks/export/"
FIELDS = ["id", "title", "description", "completed", "owner", "owner_id", "version", "created_at", "updated_at"]
FORMATS = [("csv", "text/csv; charset=utf-8"), ("jsonl", "application/x-ndjson; charset=utf-8")]
QUERIES: list[dict[str, Any]] = [
    {},
    {"completed": "true"},
    {"completed": "0", "owner_username": "user2"},
    {"search": "Vazifa 1"},
    {"search": "vazifa", "ordering": "-created_at"},
    {"ordering": "completed,-created_at", "owner_username": "user1"},
    {"search": "yoʻq bunday"},
]
TEXTS = [
    "Oʻzbekcha, гʻалаба",
    "Русский; «текст»",
    "😀👩‍👩‍👧",
    'He said "salom", twice: ""',
    "'bir'",
    "Bir\nikki\r\nuch\rtoʻrt",
    "\n",
    "a,b,,c;d\te",
    "\\ \\n",
    "\u2028 \u0085 \x0b",
    "a=1, b+c, d-e, f@g",
    "",
]
SIGNS = "=+-@＝＋－＠−﹦⁺"
BEFORE = {  # what a spreadsheet may pass over, and what begins a cell of its own where semicolons or tabs separate
    *("", " ", "\xa0", "\u3000", "\u200b", "\u200e", "\u2060", "\ufeff", "\xad", "\x01", "\x7f", "\u3164", "\u2800"),
    *('"', '""', "'", "''", "\ufe0f", "\u034f", "\U000e0041", '\ufeff \u200b"'),
}
NEW_CELLS = ("b;", "b\n", "b\r\n", "b\r", "b\t", "b; ;", 'b;"";', "b|", "b\x0b", "b\x85", "b\u2028", "\n", "\t", ";")


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each fetch, over all queries that are read in chunks."""
    sizes: list[int] = []
    iterate: Callable[..., Iterator[list[Any]]] = compiler.cursor_iter

    def note_sizes(*args: Any) -> Iterator[list[Any]]:
        for rows in iterate(*args):
            sizes.append(len(rows))
            yield rows

    monkeypatch.setattr(compiler, "cursor_iter", note_sizes)
    return sizes


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    """The places of this process, all free."""
    places = Places(
        total=lambda: settings.EXPORT_CLIENTS, each=lambda: settings.EXPORT_CLIENTS_PER_USER, full="full", own="own"
    )
    monkeypatch.setattr(export_module, "places", places)
    return places


@pytest.fixture
def some_tasks(user1: User, user2: User) -> None:
    """Twelve tasks of two owners, every third completed."""
    for number in range(12):
        owner = user2 if number % 2 else user1
        Task.objects.create(title=f"Vazifa {number}", description=f"<{number}>", completed=number % 3 == 0, owner=owner)


def make_tasks(owner: User, count: int) -> None:
    Task.objects.bulk_create(Task(title=f"Vazifa {number}", owner=owner) for number in range(count))


def export(client: APIClient, **parameters: Any) -> Any:
    return client.get(EXPORT, parameters)


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content).decode()


def rows_of(response: Any) -> list[dict[str, str]]:
    """Return the rows that a program reads from csv; each must have the same number of columns."""
    names, *rows = csv.reader(io.StringIO(text_of(response), newline=""), strict=True)
    assert names == FIELDS
    return [dict(zip(names, row, strict=True)) for row in rows]


def objects_of(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(response).split("\n")[:-1]]


@pytest.mark.usefixtures("some_tasks")
class TestContent:
    @pytest.mark.parametrize("parameters", QUERIES)
    def test_jsonl_is_what_the_list_shows(self, client1: APIClient, parameters: dict[str, Any]) -> None:
        listed = client1.get("/tasks/", {**parameters, "page_size": 100}).json()["results"]

        assert objects_of(export(client1, format="jsonl", **parameters)) == listed

    @pytest.mark.parametrize("parameters", QUERIES)
    def test_csv_is_what_the_list_shows(self, client1: APIClient, parameters: dict[str, Any]) -> None:
        listed = client1.get("/tasks/", {**parameters, "page_size": 100}).json()["results"]

        rows = rows_of(export(client1, format="csv", **parameters))

        assert rows == [{name: str(task[name]) for name in FIELDS} for task in listed]

    def test_it_is_all_tasks_and_not_a_page(self, client1: APIClient) -> None:
        assert len(rows_of(export(client1, format="csv"))) == 12

    def test_it_has_the_tasks_of_all_users(self, client1: APIClient, client2: APIClient) -> None:
        assert text_of(export(client1)) == text_of(export(client2))

    def test_jsonl_names_things_in_the_order_of_the_api(self, client1: APIClient) -> None:
        assert list(objects_of(export(client1))[0]) == FIELDS


def test_no_tasks_are_a_line_of_names_in_csv_and_nothing_in_jsonl(client1: APIClient) -> None:
    assert text_of(export(client1, format="csv")) == ",".join(FIELDS) + "\r\n"
    assert text_of(export(client1, format="jsonl")) == ""


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_reads_back_as_it_is(client1: APIClient, user1: User, text: str) -> None:
    Task.objects.create(title=f"a{text}"[:200], description=text, owner=user1)

    for read in (rows_of(export(client1, format="csv")), objects_of(export(client1, format="jsonl"))):
        assert [(task["title"], task["description"]) for task in read] == [(f"a{text}", text)]


@pytest.mark.parametrize("cell", ["", *NEW_CELLS])
def test_what_a_spreadsheet_would_calculate_is_text_in_csv_alone(client1: APIClient, user1: User, cell: str) -> None:
    starts = [f"{before}{sign}1" for before in sorted(BEFORE) for sign in SIGNS]
    Task.objects.bulk_create(
        Task(title=f"{cell}{start}", description=f"{cell}{start}", owner=user1) for start in starts
    )

    rows, tasks = rows_of(export(client1, format="csv")), objects_of(export(client1, format="jsonl"))

    assert [task["title"] for task in tasks] == [task["description"] for task in tasks] == [cell + it for it in starts]
    assert [row["title"] for row in rows] == [row["description"] for row in rows] == [f"{cell}'{it}" for it in starts]


@pytest.mark.parametrize(
    "text",
    ["a=1", "1-2", "Non - sut; sut - non", "(-1)", "a;b=1", "a\n1. -", "100%", "a,=1", "tel: +998", "_=", "я-=ў"],
)
def test_a_sign_within_a_text_changes_nothing(client1: APIClient, user1: User, text: str) -> None:
    Task.objects.create(title=text, description=text, owner=user1)

    [row] = rows_of(export(client1, format="csv"))

    assert (row["title"], row["description"]) == (text, text)


@given(text=st.text(alphabet="a1=-＠;|\t\n\r'\", \u200b\u3164\x85", min_size=1, max_size=12))
@hypothesis_settings(deadline=None)
def test_no_cell_begins_with_a_sign_and_the_text_can_be_had_back(text: str) -> None:
    [_names, line] = CsvRenderer().parts([[{"title": text}]], bom=False)
    [[cell]] = csv.reader(io.StringIO(line, newline=""))

    for start in re.split(f"[{BREAKS}]", cell):
        assert not start.lstrip('" \u200b\u3164').startswith(("=", "-", "＠"))
    assert re.sub(rf"(^|[{BREAKS}])'(?={BLANKS}[{FORMULA}])", r"\1", cell) == text


@pytest.mark.parametrize("text", [" " * 100_000, "\u3164 " * 50_000, "; " * 50_000, "\"'" * 50_000])
def test_a_long_text_is_looked_through_once(client1: APIClient, user1: User, text: str) -> None:
    Task.objects.create(title="a", description=text, owner=user1)

    assert rows_of(export(client1, format="csv"))[0]["description"] == text


@pytest.mark.parametrize("bom", ["true", "1", "True"])
def test_a_byte_order_mark_comes_first_if_it_is_asked_for(client1: APIClient, user1: User, bom: str) -> None:
    make_tasks(user1, 2)

    plain = text_of(export(client1, format="csv"))

    assert text_of(export(client1, format="csv", bom=bom)) == BOM + plain
    for other in ("false", "0"):
        assert text_of(export(client1, format="csv", bom=other)) == plain
    assert text_of(export(client1, format="jsonl", bom=bom)) == text_of(export(client1, format="jsonl"))


@pytest.mark.parametrize("name", ["@user", "+user", "-user"])
def test_a_username_is_no_formula_either(client1: APIClient, user1: User, name: str) -> None:
    User.objects.filter(pk=user1.pk).update(username=name)
    make_tasks(user1, 1)

    assert [row["owner"] for row in rows_of(export(client1, format="csv"))] == [f"'{name}"]
    assert [task["owner"] for task in objects_of(export(client1, format="jsonl"))] == [name]


@pytest.mark.parametrize(("name", "content_type"), FORMATS)
@pytest.mark.parametrize("method", ["get", "head"])
def test_it_is_a_file_of_today(client1: APIClient, user1: User, name: str, content_type: str, method: str) -> None:
    make_tasks(user1, 2)

    response = getattr(client1, method)(EXPORT, {"format": name})

    assert (response.status_code, response["Content-Type"]) == (200, content_type)
    assert response["Content-Disposition"] == f'attachment; filename="tasks-{timezone.localdate()}.{name}"'
    assert bool(response.getvalue()) == (method == "get")


@pytest.mark.parametrize(
    ("accepted", "content_type"),
    [("text/csv", FORMATS[0][1]), ("application/x-ndjson", FORMATS[1][1]), ("*/*", FORMATS[1][1])],
)
def test_the_format_may_be_asked_for_by_accept(client1: APIClient, accepted: str, content_type: str) -> None:
    response = client1.get(EXPORT, headers={"Accept": accepted})

    assert (response.status_code, response["Content-Type"]) == (200, content_type)


@pytest.mark.parametrize("name", ["csv", "jsonl"])
class TestRefusals:
    @pytest.mark.parametrize(
        "parameters",
        [
            {"completed": "perhaps"},
            {"owner": "me"},
            {"ordering": "color"},
            {"search": "a" * 201},
            {"search": "\0"},
            {"search": "'"},
        ],
    )
    def test_a_filter_that_means_nothing_is_refused_as_by_the_list(
        self, client1: APIClient, name: str, parameters: dict[str, str]
    ) -> None:
        response = export(client1, format=name, **parameters)

        assert (response.status_code, response["Content-Type"]) == (400, "application/json")
        assert response.json() == client1.get("/tasks/", parameters).json()
        assert list(response.json()) == list(parameters)

    def test_a_byte_order_mark_is_wanted_or_not(self, client1: APIClient, name: str) -> None:
        response = export(client1, format=name, bom="perhaps")

        assert (response.status_code, response.json()) == (400, {"bom": ["Enter true or false."]})

    def test_an_unsigned_client_is_refused(self, client1: APIClient, name: str) -> None:
        response = export(APIClient(), format=name)

        assert (response.status_code, response["Content-Type"]) == (401, "application/json")
        assert response.json() == {"detail": "Authentication credentials were not provided."}
        assert response["WWW-Authenticate"] == 'Bearer realm="api"'

    def test_only_get_reads(self, client1: APIClient, name: str) -> None:
        response = client1.post(f"{EXPORT}?format={name}")

        assert (response.status_code, response["Content-Type"]) == (405, "application/json")

    def test_a_database_away_is_answered_before_a_file_begins(
        self, client1: APIClient, database_away: None, name: str
    ) -> None:
        response = export(client1, format=name)

        assert (response.status_code, response["Content-Type"]) == (503, "application/json")


@pytest.mark.parametrize("name", ["xml", "json", "api", "CSV", "csv "])
def test_an_unknown_format_is_not_found(client1: APIClient, name: str) -> None:
    response = export(client1, format=name)

    assert (response.status_code, response["Content-Type"]) == (404, "application/json")
    assert response.json() == {"detail": "Not found."}


def test_an_unknown_format_is_not_acceptable(client1: APIClient) -> None:
    response = client1.get(EXPORT, headers={"Accept": "image/png"})

    assert (response.status_code, response["Content-Type"]) == (406, "application/json")


@pytest.mark.parametrize("name", ["csv", "jsonl"])
class TestStream:
    def test_rows_are_fetched_as_they_are_sent(
        self, client1: APIClient, user1: User, chunks: list[int], name: str
    ) -> None:
        make_tasks(user1, 3_000)
        chunks.clear()

        response = export(client1, format=name)
        assert isinstance(response, StreamingHttpResponse)
        assert chunks == [PIECE]

        parts = iter(response)
        if name == "csv":
            assert next(parts).count(b"\n") == 1
        assert next(parts).count(b"\n") == PIECE
        assert chunks == [PIECE]
        assert next(parts).count(b"\n") == PIECE
        assert chunks == [PIECE] * 2

        assert [part.count(b"\n") for part in parts] == [PIECE] * 13
        assert chunks == [PIECE] * 15

    def test_it_is_one_query_however_many_tasks(self, client1: APIClient, user1: User, name: str) -> None:
        make_tasks(user1, 2 * PIECE + 1)

        with CaptureQueriesContext(connection) as captured:
            text_of(export(client1, format=name))

        assert len(captured) == 1

    def test_a_cursor_of_the_server_keeps_what_is_not_sent_yet(
        self, client1: APIClient, user1: User, name: str, database: str
    ) -> None:
        if database == "sqlite":
            pytest.skip("it has no server")
        make_tasks(user1, PIECE + 1)

        response = export(client1, format=name)
        assert open_cursors() == 1
        assert not holds_snapshot()
        text_of(response)
        assert open_cursors() == 0

    def test_a_cursor_ends_with_a_client_that_goes_away(
        self, client1: APIClient, user1: User, name: str, database: str
    ) -> None:
        if database == "sqlite":
            pytest.skip("it has no server")
        make_tasks(user1, 2 * PIECE)

        response = export(client1, format=name)
        next(iter(response))
        response.close()
        del response

        assert open_cursors() == 0

    def test_it_is_a_snapshot(self, client1: APIClient, user1: User, name: str, database: str) -> None:
        if database == "sqlite":
            pytest.skip("one connection of SQLite sees what it writes")
        make_tasks(user1, 2 * PIECE)

        response = export(client1, format=name)
        Task.objects.update(title="Boshqa")
        Task.objects.order_by("-pk")[0].delete()

        text = text_of(response)
        assert "Boshqa" not in text
        assert text.count("Vazifa ") == 2 * PIECE


class TestPlaces:
    def test_one_user_leaves_places_for_others(
        self, client1: APIClient, client2: APIClient, places: Places, settings: Any
    ) -> None:
        settings.EXPORT_CLIENTS, settings.EXPORT_CLIENTS_PER_USER = 3, 2
        responses = [client1.get(EXPORT) for _ in range(2)]
        for client, status in ((client1, 429), (client2, 200), (client2, 503)):
            response = client.get(EXPORT)
            responses.append(response)
            assert response.status_code == status
            assert response.get("Retry-After") == (None if status == 200 else "5")
            assert response["Content-Type"].startswith("application/x-ndjson" if status == 200 else "application/json")

        for response in responses:
            response.close()
        assert places._taken.total() == 0

    def test_a_database_away_takes_no_place(self, client1: APIClient, places: Places, database_away: None) -> None:
        assert export(client1, format="csv").status_code == 503
        assert places._taken.total() == 0

    @pytest.mark.parametrize("method", ["get", "head"])
    def test_a_place_is_free_when_the_response_is_complete(
        self, client1: APIClient, places: Places, some_tasks: None, method: str
    ) -> None:
        response = getattr(client1, method)(EXPORT)
        list(response)
        response.close()

        assert (response.status_code, places._taken.total()) == (200, 0)


def open_cursors() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE '\\_django\\_curs\\_%'")
        return int(cursor.fetchone()[0])


def holds_snapshot() -> bool:
    """Return whether the connection keeps vacuum from removing rows while it is idle."""
    assert connection.connection is not None
    with psycopg.connect(connection.connection.info.dsn) as other:
        sql = "SELECT backend_xmin IS NOT NULL OR backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = %s"
        return bool(other.execute(sql, [connection.connection.info.backend_pid]).fetchone()[0])  # type: ignore[index]
