"""HEAD: the headers of GET, no body, and nothing left open."""

import io
from collections.abc import Callable

import pytest
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory

from project.middleware import BodilessHead

ANSWERS: list[Callable[[], HttpResponseBase]] = [
    lambda: JsonResponse({"status": "ok"}),
    lambda: HttpResponse("ok", headers={"Content-Length": "2"}),
    lambda: StreamingHttpResponse(iter([b"a", b"b"])),
    lambda: FileResponse(io.BytesIO(b"a file"), filename="a.css"),
]


def answer(method: str, response: HttpResponseBase) -> HttpResponseBase:
    return BodilessHead(lambda request: response)(RequestFactory().generic(method, "/"))


def body(response: HttpResponseBase) -> bytes:
    assert isinstance(response, HttpResponse | StreamingHttpResponse)
    return b"".join(response)


@pytest.mark.parametrize("make", ANSWERS)
def test_it_has_no_body(make: Callable[[], HttpResponseBase]) -> None:
    assert body(answer("HEAD", make())) == b""


@pytest.mark.parametrize("make", ANSWERS)
def test_it_has_the_headers_of_get(make: Callable[[], HttpResponseBase]) -> None:
    headers = dict(make().items())

    assert headers.items() <= dict(answer("HEAD", make()).items()).items()


def test_it_says_how_long_the_body_of_get_is() -> None:
    assert answer("HEAD", JsonResponse({"status": "ok"}))["Content-Length"] == "16"


@pytest.mark.parametrize("make", ANSWERS)
def test_the_body_of_get_is_left_alone(make: Callable[[], HttpResponseBase]) -> None:
    assert body(answer("GET", make())) == body(make()) != b""


@pytest.mark.django_db  # a response that is closed looks after the database's connections
def test_a_file_is_handed_to_no_web_server_and_closed() -> None:
    file = io.BytesIO(b"a file")
    response = answer("HEAD", FileResponse(file))
    assert isinstance(response, FileResponse)

    assert response.file_to_stream is None
    response.close()
    assert file.closed
