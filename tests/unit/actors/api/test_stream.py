"""The stream has every event once, in commit order, and releases what it uses when a client goes."""

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from rest_framework.exceptions import Throttled
from rest_framework.test import APIClient

from actors.api import stream
from actors.api.stream import BEGINNING, Client, Position, Sent, Tail
from actors.models import Activity, Event
from actors.rest import time_limit
from actors.rest.places import NoPlace, TooManyOfUser
from actors.retention import prune
from project.accounts.tokens.sign_ins import end_all
from project.local.servers.process import wait_until
from tests.tokens import bearer
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

STREAM = "/activity/stream/"


@pytest.fixture
def tail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tail]:
    """The tail of this process, whose reader thread ends with the test."""
    tail = Tail()
    monkeypatch.setattr(stream, "process_tail", tail)
    yield tail
    tail.is_stopping = lambda: True
    assert wait_until(lambda: tail._thread is None, timeout_seconds=30)


@pytest.fixture
def on_its_own(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite no other thread can read: each connection has its own database in memory."""
    if database == "sqlite":
        monkeypatch.setattr(Tail, "_read", lambda self: setattr(self, "_thread", None))


def log(task_id: int = 1, event: str = Event.TASK_UPDATED) -> int:
    version = 1 + Activity.objects.filter(task_id=task_id).count()
    return Activity.objects.create(event=event, task_id=task_id, version=version, title="Bir", owner="user1").pk


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User) -> None:
    user.set_password("another-password")
    user.save()


def every(sent: Sent) -> bool:
    return True


def ids(pieces: Any, count: int) -> list[int]:
    """Return the ids of the next events, without heartbeats and comments."""
    found: list[int] = []
    while len(found) < count:
        text = next(pieces)
        if "\ndata: " in text:
            found.append(int(text.partition("\n")[0].removeprefix("id: ")))
    return found


def pieces_of(response: Any) -> Iterator[str]:
    return (piece.decode() for piece in response.streaming_content)


@pytest.mark.usefixtures("on_its_own")
@pytest.mark.parametrize("headers", [{}, {"HTTP_LAST_EVENT_ID": ""}])
def test_a_new_client_gets_what_is_logged_from_now_on(client1: APIClient, tail: Tail, headers: dict[str, Any]) -> None:
    log()
    response = client1.get(STREAM, **headers)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert (response["Cache-Control"], response["X-Accel-Buffering"]) == ("no-cache", "no")
    new = [log(), log()]
    assert ids(pieces_of(response), 2) == new
    response.close()


@pytest.mark.usefixtures("on_its_own")
def test_a_client_that_comes_back_gets_what_it_has_missed(client1: APIClient, tail: Tail) -> None:
    logged = [log() for _ in range(2 * stream.PAGE + 3)]
    response = client1.get(STREAM, HTTP_LAST_EVENT_ID=str(logged[1]))
    assert ids(pieces_of(response), len(logged) - 2) == logged[2:]
    response.close()


@pytest.mark.usefixtures("on_its_own")
def test_a_client_may_want_one_task_or_one_kind_of_event(client1: APIClient, tail: Tail) -> None:
    logged = [log(1, Event.TASK_CREATED), log(2, Event.TASK_CREATED), log(1), log(2), log(1)]
    for query, wanted in (({"task": 1}, [2, 4]), ({"event": "task.created"}, [1]), ({}, [1, 2, 3, 4])):
        response = client1.get(STREAM, query, HTTP_LAST_EVENT_ID=str(logged[0]))
        assert ids(pieces_of(response), len(wanted)) == [logged[index] for index in wanted]
        response.close()


@pytest.mark.parametrize("asked", [{"task": "x"}, {"task": "-1"}, {"event": "task.eaten"}, {"task": "9" * 30}])
def test_a_filter_that_means_nothing_is_refused(client1: APIClient, tail: Tail, asked: dict[str, str]) -> None:
    response = client1.get(STREAM, asked)
    assert (response.status_code, response["Content-Type"]) == (400, "application/json")
    assert list(response.json()) == list(asked)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_an_id_that_is_none_is_refused(client1: APIClient, tail: Tail, last: str) -> None:
    assert client1.get(STREAM, HTTP_LAST_EVENT_ID=last).status_code == 400


def test_a_client_that_is_not_signed_in_is_refused(tail: Tail) -> None:
    response = APIClient().get(STREAM)
    assert (response.status_code, response["Content-Type"]) == (401, "application/json")


@pytest.mark.usefixtures("on_its_own")
def test_an_event_is_one_event_whatever_its_title_holds(client1: APIClient, tail: Tail) -> None:
    first = log()
    title = "a\n\nid: 7\r\ndata: x\u2028data: \u2029\n\x85\x0b\x0c\x1c\x1d\x1e ўў"
    Activity.objects.create(event=Event.TASK_UPDATED, task_id=9, title=title, owner="user1")
    response = client1.get(STREAM, HTTP_LAST_EVENT_ID=str(first))
    pieces = [next(pieces_of(response)) for _ in range(2)]
    lines = pieces[1].splitlines()  # at more characters than the protocol's, as some clients do
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", ""]
    assert json.loads(lines[2].removeprefix("data: "))["title"] == title
    response.close()


@pytest.mark.usefixtures("on_its_own")
def test_there_is_a_place_for_so_many_clients_and_no_more(client1: APIClient, tail: Tail, settings: Any) -> None:
    settings.STREAM_CLIENTS = 2
    responses = [client1.get(STREAM) for _ in range(2)]
    refused = client1.get(STREAM)
    assert (refused.status_code, refused["Retry-After"], refused["Content-Type"]) == (503, "5", "application/json")
    responses[0].close()  # which was never begun
    third = client1.get(STREAM)
    assert third.status_code == 200
    for response in (responses[1], third, third):
        response.close()
    assert tail.clients == 0


@pytest.mark.usefixtures("on_its_own")
def test_one_user_leaves_places_for_others(client1: APIClient, client2: APIClient, tail: Tail, settings: Any) -> None:
    settings.STREAM_CLIENTS_PER_USER = 2
    responses = [client1.get(STREAM) for _ in range(2)]
    refused = client1.get(STREAM)
    assert (refused.status_code, refused["Retry-After"], refused["Content-Type"]) == (429, "5", "application/json")
    assert "as one user may" in refused.json()["detail"]
    other = client2.get(STREAM)
    assert other.status_code == 200
    for response in (*responses, other):
        response.close()
    assert stream.places._taken.total() == 0


TOO_COSTLY = OperationalError("canceling statement due to statement timeout")
TOO_COSTLY.__cause__ = sqlite3.OperationalError()
TOO_COSTLY.__cause__.sqlite_errorname = time_limit.INTERRUPTED


@pytest.mark.parametrize(
    ("error", "status", "least_seconds"),
    [
        pytest.param(NoPlace("full"), 503, 5, id="no place"),
        pytest.param(TooManyOfUser("own"), 429, 5, id="no place for the user"),
        pytest.param(OperationalError("away"), 503, 5, id="database away"),
        pytest.param(TOO_COSTLY, 503, 30, id="too costly"),
        pytest.param(Throttled(wait=42), 429, 42, id="many requests"),
        pytest.param(Throttled(wait=0.2), 429, 5, id="many requests until now"),
    ],
)
class TestTemporary:
    """What refuses a client for a while does not end a browser's EventSource."""

    @pytest.fixture(autouse=True)
    def refusing(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_args: Any) -> None:
            raise error

        monkeypatch.setattr(stream, "open_client", refuse)

    @pytest.mark.parametrize("accept", ["text/event-stream", "application/json;q=0.1, Text/Event-Stream"])
    def test_an_event_source_is_told_when_to_come_back(
        self, client1: APIClient, status: int, least_seconds: int, accept: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        answers = [client1.get(STREAM, HTTP_ACCEPT=accept) for _ in range(20)]

        for answer in answers:
            assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
            assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-cache", "no")
        texts = [re.fullmatch("retry: ([0-9]+)\n\n", answer.content.decode()) for answer in answers]
        pauses = [int(text[1]) for text in texts if text]
        assert len(pauses) == len(answers)
        assert all(1_000 * least_seconds <= pause < 2_000 * least_seconds for pause in pauses)
        assert len(set(pauses)) > 1, "all would come back together"
        logged = [record.getMessage() for record in caplog.records if record.name == "actors.api.stream"]
        assert logged == [f"stream: refused status={status} retry_ms={pause}" for pause in pauses]

    @pytest.mark.parametrize("accept", ["*/*", "text/*"])
    def test_another_client_gets_the_error(
        self, client1: APIClient, status: int, least_seconds: int, accept: str
    ) -> None:
        answer = client1.get(STREAM, HTTP_ACCEPT=accept)

        assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
        assert "Retry-After" in answer


@pytest.mark.parametrize(("query", "status"), [({"task": "x"}, 400), ({}, 401)])
def test_an_event_source_gives_up_at_what_stays_an_error(
    client1: APIClient, tail: Tail, query: dict[str, str], status: int
) -> None:
    client = client1 if query else APIClient()
    answer = client.get(STREAM, query, HTTP_ACCEPT="text/event-stream")

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")


@pytest.mark.usefixtures("on_its_own")
def test_a_head_request_keeps_no_place(client1: APIClient, tail: Tail) -> None:
    response = client1.head(STREAM)
    response.close()
    assert (response.status_code, tail.clients) == (200, 0)


@pytest.mark.usefixtures("on_its_own")
def test_a_quiet_stream_has_heartbeats(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0)
    last = log()
    client = Client(tail, position=stream.end_of_log(), wanted=every)
    expected = f"id: {last}\n: heartbeat\n\n"
    assert [next(client), next(client), next(client)] == [f"retry: 1000\nid: {last}\n\n", expected, expected]
    client.close()


@pytest.mark.usefixtures("on_its_own")
def test_a_client_that_heard_only_heartbeats_goes_on_where_it_was(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0)
    client = Client(tail, position=stream.end_of_log(), wanted=lambda sent: False)
    next(client)
    last = [log() for _ in range(3)][-1]
    assert wait_until(lambda: next(client).startswith(f"id: {last}\n"), timeout_seconds=30)
    client.close()


@pytest.mark.usefixtures("on_its_own")
def test_a_stream_ends_when_its_process_does_and_after_a_while(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_SECONDS", 0)
    client = Client(tail, position=BEGINNING, wanted=every)
    assert list(client) == ["retry: 1000\nid: 0\n\n"]
    client.close()


@pytest.mark.usefixtures("on_its_own")
def test_a_stream_goes_on_after_its_database_was_away(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, failures = stream.read_after, iter([OperationalError("away")] * 3)

    def fail_at_first(position: Position) -> list[Sent]:
        if (error := next(failures, None)) is not None:
            raise error
        return reading(position)

    monkeypatch.setattr(stream, "read_after", fail_at_first)
    client = Client(tail, position=stream.end_of_log(), wanted=every)
    logged = log()
    assert ids(client, 1) == [logged]
    client.close()


@pytest.mark.parametrize("path", [STREAM, "/tasks/export/"])
def test_what_is_no_stream_is_json(client1: APIClient, path: str) -> None:
    answer = client1.options(path)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert client1.post(path).status_code == 405


def test_a_page_is_no_larger_than_a_few_texts(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_PAGE", 1)
    logged = [log() for _ in range(3)]
    assert [sent.position.row_id for sent in stream.read_after(BEGINNING)] == logged[:1]


def test_a_pruned_event_is_resumed_from_where_what_is_left_begins(tail: Tail) -> None:
    left = [log() for _ in range(3)]
    prune(Activity.objects.get(pk=left[1]).occurred_at)
    assert stream.position_of(left[0]) == BEGINNING
    assert stream.position_of(left[2] + 1_000) == stream.end_of_log() == stream.position_of(left[2])


def test_rows_from_another_database_are_read_before_those_that_are_written_here(tail: Tail) -> None:
    loaded = [
        Activity.objects.create(event=Event.TASK_CREATED, task_id=n, title="Bir", owner="user1", transaction=10**12 - n)
        for n in range(2)
    ]
    end = stream.end_of_log()
    assert end.row_id in {row.pk for row in loaded}
    new = [log(5), log(6)]
    assert [sent.position.row_id for sent in stream.read_after(end)] == new


@pytest.fixture
def postgresql_only(database: str) -> None:
    if database == "sqlite":
        pytest.skip("SQLite has one writer: nothing overtakes")


@pytest.mark.usefixtures("postgresql_only")
@pytest.mark.parametrize("commits", [True, False])
def test_what_a_slow_writer_has_begun_is_waited_for(tail: Tail, commits: bool) -> None:
    has_written, may_end, slow = threading.Event(), threading.Event(), []

    def write_slowly() -> None:
        with transaction.atomic():
            slow.append(log(1))
            has_written.set()
            assert may_end.wait(60)
            transaction.set_rollback(not commits)

    client = Client(tail, position=stream.end_of_log(), wanted=every)
    writer = in_another_thread(write_slowly)
    assert has_written.wait(30)
    fast = log(2)
    assert fast > slow[0]
    assert Activity.objects.filter(pk=fast).exists()
    assert stream.read_after(BEGINNING) == []
    may_end.set()
    writer.join()
    expected = [slow[0], fast] if commits else [fast]
    assert ids(client, len(expected)) == expected
    for row_id in expected:
        resumed = stream.read_after(stream.position_of(row_id))
        assert [sent.position.row_id for sent in resumed] == expected[expected.index(row_id) + 1 :]
    client.close()


@pytest.mark.usefixtures("postgresql_only")
def test_an_error_of_any_kind_ends_no_stream(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, has_failed = stream.read_after, threading.Event()

    def fail_once(*args: Any) -> list[Sent]:
        if not has_failed.is_set() and threading.current_thread().name == "activity-tail":
            has_failed.set()
            raise RuntimeError
        return reading(*args)

    monkeypatch.setattr(stream, "read_after", fail_once)
    client = Client(tail, position=stream.end_of_log(), wanted=every)
    assert has_failed.wait(30)
    logged = log()
    assert ids(client, 1) == [logged]
    client.close()


@pytest.mark.usefixtures("postgresql_only")
def test_a_client_that_lags_behind_what_is_remembered_reads_the_log(
    tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "REMEMBERED_CHARACTERS", 1)
    begin = stream.end_of_log()
    slow, fast = (Client(tail, position=begin, wanted=every) for _ in range(2))
    logged = [log() for _ in range(stream.PAGE + 5)]
    assert ids(fast, len(logged)) == logged
    assert wait_until(lambda: tail.after(begin) is None, timeout_seconds=30)
    assert ids(slow, len(logged)) == logged
    for client in (slow, fast):
        client.close()


@pytest.mark.usefixtures("postgresql_only")
def test_many_writers_and_many_clients_agree(tail: Tail) -> None:
    begin = stream.end_of_log()
    clients = [Client(tail, position=begin, wanted=every) for _ in range(5)]
    seen: list[list[int]] = [[] for _ in clients]

    def write(task_id: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(20):
                with transaction.atomic():
                    log(task_id)
                    transaction.set_rollback(number % 5 == 4)

        return run

    def follow(index: int) -> Callable[[], None]:
        return lambda: seen[index].extend(ids(clients[index], 4 * 16))

    threads = [in_another_thread(write(task_id)) for task_id in range(1, 5)] + [
        in_another_thread(follow(i)) for i in range(5)
    ]
    for thread in threads:
        thread.join(60)
    assert all(each == seen[0] for each in seen)
    assert sorted(seen[0]) == sorted(Activity.objects.values_list("pk", flat=True))
    for client in clients:
        client.close()


class TestAdmission:
    """A stream ends at the next heartbeat after its client would not be let in any more."""

    @pytest.fixture(autouse=True)
    def heartbeats_at_once(self, on_its_own: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0)

    @pytest.fixture(params=["token", "session"])
    def client(self, request: pytest.FixtureRequest, user1: User) -> APIClient:
        client = APIClient()
        if request.param == "token":
            client.credentials(HTTP_AUTHORIZATION=bearer(user1))
        else:
            client.force_login(user1)
        return client

    @pytest.mark.parametrize("change", [deactivate, change_password, User.delete])
    def test_whose_user_is_refused_loses_it(
        self, client: APIClient, user1: User, tail: Tail, change: Callable[[User], Any]
    ) -> None:
        response = client.get(STREAM)
        pieces = pieces_of(response)
        assert [next(pieces).count("heartbeat") for _ in range(3)] == [0, 1, 1]

        change(user1)
        assert list(pieces) == []
        response.close()
        assert tail.clients == 0

    def test_who_logs_out_loses_it(self, client: APIClient, user1: User, tail: Tail) -> None:
        response = client.get(STREAM)
        pieces = pieces_of(response)
        assert next(pieces)

        end_all(user1)
        client.logout()
        assert list(pieces) == []
        response.close()

    def test_who_follows_all_events_without_a_pause_loses_it_too(
        self, user1: User, tail: Tail, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = log()
        for _ in range(2 * stream.PAGE):
            log()
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=bearer(user1))
        response = client.get(STREAM, HTTP_LAST_EVENT_ID=str(first))
        pieces = pieces_of(response)
        assert len(ids(pieces, 1)) == 1

        deactivate(user1)
        assert len(["data" for piece in pieces if "\ndata: " in piece]) == stream.PAGE - 1
        response.close()

    def test_a_database_that_is_away_ends_no_stream(self, user1: User, tail: Tail) -> None:
        def ask() -> bool:
            raise OperationalError("away")

        client = Client(tail, position=stream.end_of_log(), wanted=every, may_stay=ask)
        assert [next(client).count("heartbeat") for _ in range(3)] == [0, 1, 1]
        client.close()
