"""Each request has an id, and each message sent because of it records the request and the user."""

import logging
import re
import threading
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from actors.outbox.context import Context, current_context, current_request_id, sent_by
from actors.outbox.models import OutboxMessage
from project.logs import LineFormatter
from project.middleware import RequestOrigin
from tasks.models import Task
from tests.conftest import PASSWORD

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("database"),
    # WhiteNoise has nothing to serve until `collectstatic` has run.
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]

MADE_HERE = re.compile("[0-9a-f]{32}")


def origin() -> tuple[str, str, int | None]:
    """Return the recorded origin of the one message."""
    row = OutboxMessage.objects.get()
    return row.request_id, row.changed_by, row.changed_by_id


def signed_in(user: User) -> APIClient:
    """Return a client that got its token from the API."""
    client = APIClient()
    token = client.post("/api/token/", {"username": user.username, "password": PASSWORD}).json()["access"]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_a_creation_with_a_token_is_by_its_user_in_that_request(user1: User) -> None:
    response = signed_in(user1).post("/tasks/", {"title": "Bir"})
    assert response.status_code == 201
    assert MADE_HERE.fullmatch(response["X-Request-ID"])
    assert origin() == (response["X-Request-ID"], "user1", user1.pk)


def test_a_creation_in_the_admin_is_by_the_admin_s_user(admin_client: Client, admin_user: User, user1: User) -> None:
    form = {"title": "Admindan", "description": "", "owner": user1.pk}
    response = admin_client.post("/admin/tasks/task/add/", form, headers={"X-Request-ID": "from-a-browser"})
    assert response.status_code == 302
    assert origin() == ("from-a-browser", "admin", admin_user.pk)


def test_a_creation_over_rest_with_a_session_is_by_its_user(admin_client: Client, admin_user: User) -> None:
    response = admin_client.post("/tasks/", {"title": "Bir"}, "application/json")
    assert response.status_code == 201
    assert origin() == (response["X-Request-ID"], "admin", admin_user.pk)


def test_a_creation_in_the_shell_has_no_user(user1: User) -> None:
    Task.objects.create(title="Bir", owner=user1)
    assert origin() == ("", "", None)


def test_after_a_request_nothing_of_it_is_left(user1: User) -> None:
    signed_in(user1).get("/tasks/")
    assert current_context() == Context()
    assert current_request_id() == ""


@pytest.mark.parametrize("path", ["/", "/nowhere/", "/tasks/", "/health/live/", "/static/admin/css/base.css"])
def test_every_answer_bears_the_id(path: str) -> None:
    assert Client().get(path, headers={"X-Request-ID": "r-1"})["X-Request-ID"] == "r-1"


@pytest.mark.parametrize(
    "proposed",
    ["r-1", "7", "a" * 100, "7f3c9be2-5d0a-4e0f-9a53-2f2d3a1b7c11", "Root=1-67891233-abcdef012345678912345678"],
)
def test_a_short_and_plain_id_is_kept(proposed: str) -> None:
    assert Client().get("/health/live/", headers={"X-Request-ID": proposed})["X-Request-ID"] == proposed


@pytest.mark.parametrize(
    "proposed",
    [
        pytest.param("", id="empty"),
        pytest.param("a\nb", id="newline"),
        pytest.param("a\n", id="newline at the end"),
        pytest.param("a\r\nSet-Cookie: b=c", id="another header"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("a" * 101, id="too long for the column"),
        pytest.param("a" * 10_240, id="10 kB"),
        pytest.param("a b", id="space"),
        pytest.param("аbс", id="letters that look like others"),
        pytest.param("\x1b[31m", id="a terminal's command"),
        pytest.param("<script>", id="markup"),
        pytest.param("'; --", id="quotes"),
        pytest.param("../../etc", id="a path"),
    ],
)
def test_garbage_is_replaced(proposed: str, user1: User) -> None:
    client = signed_in(user1)
    response = client.post("/tasks/", {"title": "Bir"}, headers={"X-Request-ID": proposed})
    assert MADE_HERE.fullmatch(response["X-Request-ID"])
    assert origin() == (response["X-Request-ID"], "user1", user1.pk)


def test_two_requests_at_once_do_not_mix(user1: User, user2: User) -> None:
    both_inside = threading.Barrier(2, timeout=30)
    seen: dict[str, list[Context]] = {}

    def view(request: HttpRequest) -> HttpResponse:
        before = current_context()
        request.user = users[request.headers["X-Request-ID"]]
        both_inside.wait()
        seen[request.headers["X-Request-ID"]] = [before, current_context()]
        both_inside.wait()
        return HttpResponse()

    users = {"one": user1, "two": user2}
    serve = RequestOrigin(view)
    requests = [RequestFactory(headers={"X-Request-ID": request_id}).get("/") for request_id in users]
    threads = [threading.Thread(target=serve, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for request_id, user in users.items():
        known = Context(request_id=request_id, changed_by=user.username, changed_by_id=user.pk)
        assert seen[request_id] == [Context(request_id=request_id), known]


def test_an_exception_leaves_nothing_behind() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 – the one above
        RequestOrigin(view)(RequestFactory().get("/"))
    assert current_context() == Context()


def test_a_streamed_answer_bears_the_id_and_leaves_nothing_behind() -> None:
    def stream() -> Iterator[bytes]:
        yield current_request_id().encode()

    request = RequestFactory(headers={"X-Request-ID": "r-1"}).get("/")
    response = RequestOrigin(lambda request: StreamingHttpResponse(stream()))(request)
    assert response["X-Request-ID"] == "r-1"
    assert isinstance(response, StreamingHttpResponse)
    assert b"".join(response.streaming_content) == b""  # type: ignore[arg-type]  # not an asynchronous one
    assert current_context() == Context()


def test_a_view_finds_the_id_on_its_request() -> None:
    found: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        found.append(request.request_id)  # type: ignore[attr-defined]
        return HttpResponse()

    response = RequestOrigin(view)(RequestFactory().get("/"))
    assert found == [response["X-Request-ID"]]


def test_a_worker_s_origin_inside_a_request_s_is_the_inner_one() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        with sent_by(Context(request_id="inner")):
            assert current_context() == Context(request_id="inner")
        return HttpResponse(current_request_id())

    request = RequestFactory(headers={"X-Request-ID": "outer"}).get("/")
    response = RequestOrigin(view)(request)
    assert isinstance(response, HttpResponse)
    assert response.content == b"outer"


@pytest.fixture
def error_lines() -> Iterator[list[str]]:
    """The first lines of the errors that Django logs, as they are written."""
    lines: list[str] = []

    class Remembering(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record).splitlines()[0])

    handler = Remembering(logging.ERROR)
    handler.setFormatter(LineFormatter("{levelname} {message}", style="{"))
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ZeroDivisionError, 500, "ERROR Internal Server Error: /tasks/ request_id=r-1"),
        (OperationalError, 503, "ERROR Service Unavailable: /tasks/ request_id=r-1"),
    ],
)
def test_an_error_s_line_says_in_which_request(
    client1: APIClient,
    error_lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    status: int,
    line: str,
) -> None:
    def fail(view: object, serializer: object) -> None:
        raise error

    monkeypatch.setattr("tasks.views.TaskViewSet.perform_create", fail)
    client1.raise_request_exception = False
    response = client1.post("/tasks/", {"title": "Bir"}, headers={"X-Request-ID": "r-1"})
    assert (response.status_code, response["X-Request-ID"]) == (status, "r-1")
    assert error_lines == [line]


@pytest.mark.parametrize(
    ("level", "written"),
    [
        (logging.INFO, "Vazifa yangilandi"),
        (logging.WARNING, "Vazifa yangilandi request_id=r-1"),
        (logging.ERROR, "Vazifa yangilandi request_id=r-1"),
    ],
)
def test_only_what_goes_wrong_says_in_which_request(level: int, written: str) -> None:
    record = logging.LogRecord("tasks", level, __file__, 1, "Vazifa yangilandi", None, None)
    with sent_by(Context(request_id="r-1")):
        assert LineFormatter("{message}", style="{").format(record) == written
    assert LineFormatter("{message}", style="{").format(record) == "Vazifa yangilandi"
