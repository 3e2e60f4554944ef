"""The web server's log: one format, one line for a request, and none for static files and health probes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.local.servers.process import wait_until
from tests.integration.gunicorn_server import LINE, Web

pytestmark = pytest.mark.integration

ACCESS = re.compile(r"(?P<request>[A-Z]+ \S+ \d{3}) \d+ms 127\.0\.0\.1 request_id=(?P<id>[0-9a-f]{32})")


@pytest.fixture
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path, ACCESS_LOG=getattr(request, "param", "True")) as web:
        yield web


def messages(lines: list[re.Match[str] | None], name: str) -> list[str]:
    return [line["message"] for line in lines if line and line["name"] == name]


def test_each_request_is_one_short_line_of_the_one_format(web: Web) -> None:
    answers = [web.client.post("/tasks/?a=b", json={}), web.client.get("/nowhere/")]
    web.client.get("/static/admin/css/base.css")
    lines = web.stop()

    assert None not in lines
    requests = [ACCESS.fullmatch(message) for message in messages(lines, "gunicorn.access")]
    assert [line and line["request"] for line in requests] == ["POST /tasks/?a=b 401", "GET /nowhere/ 404"]
    assert [line and line["id"] for line in requests] == [answer.headers["X-Request-ID"] for answer in answers]
    assert messages(lines, "django.request") == []


def test_terminal_and_file_have_the_same_lines_once_each(web: Web) -> None:
    web.client.get("/")
    lines = web.stop()

    assert web.log.read_text("utf-8") == web.terminal.read_text("utf-8")
    assert len(messages(lines, "gunicorn.access")) == 1
    assert len([message for message in messages(lines, "gunicorn.error") if message.startswith("Booting")]) == 1


def test_all_its_processes_tell_the_same_time(web: Web) -> None:
    web.client.get("/")
    times = [line["time"] for line in web.stop() if line]

    assert times == sorted(times)


def test_a_cache_that_cannot_be_used_is_a_line_of_the_first_process(tmp_path: Path, closed_port: int) -> None:
    with Web(tmp_path, CACHE_URL=f"redis://127.0.0.1:{closed_port}/0", WEB_CONCURRENCY="2") as web:
        assert wait_until(lambda: "cache cannot be used" in web.log.read_text("utf-8"), timeout_seconds=60)
        assert wait_until(lambda: len(web.workers()) == 2, timeout_seconds=60)
    [message] = messages(
        [LINE.fullmatch(line) for line in web.log.read_text("utf-8").splitlines()], "project.server_access"
    )
    assert "correct CACHE_URL." in message


@pytest.mark.parametrize("web", ["False"], indirect=True)
def test_unless_it_is_asked_for_no_request_is_a_line(web: Web) -> None:
    web.client.get("/")

    assert messages(web.stop(), "gunicorn.access") == []


@pytest.mark.parametrize("path", ["/health/live/", "/tasks/", "/static/admin/css/base.css"])
def test_a_head_request_has_the_length_of_the_body_it_does_not_get(web: Web, path: str) -> None:
    head, get = web.client.head(path), web.client.get(path)

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["Content-Length"] == str(len(get.content))
    assert [line["message"] for line in web.stop() if line and line["level"] == "WARNING"] == []
