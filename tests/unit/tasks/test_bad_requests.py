"""Requests that no client should make: other addresses, methods and headers. Always JSON, never a 500."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from tasks.models import Task

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

NO_IDS = [
    "0",
    "-1",
    "999999999",
    str(2**63 - 1),
    str(2**63),
    "9" * 30,
    "9" * 5000,
    "1.5",
    "1e3",
    "abc",
    "None",
    "true",
    "%00",
    "1%00",
    "%ED%A0%80",
    "%FF",
    "%20",
    "1;DROP",
    "1%2F2",
    "..",
    "%F0%9F%98%80",
]


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head"])
@pytest.mark.parametrize("task_id", NO_IDS, ids=[task_id[:12] for task_id in NO_IDS])
def test_an_id_that_no_task_has_is_not_found(owner: APIClient, task: Task, method: str, task_id: str) -> None:
    response = getattr(owner, method)(f"/tasks/{task_id}/")

    assert response.status_code == 404
    assert response["Content-Type"] == "application/json"
    assert method == "head" or response.json() == {"detail": "Not found."}


@pytest.mark.parametrize(
    "address", ["/nowhere/", "/%00/", "/tasks/1/2/", "/api/", "/api/tokens/", "/%ED%A0%80", "/.env"]
)
def test_an_address_that_leads_nowhere_is_not_found(visitor: APIClient, address: str) -> None:
    response = visitor.get(address)

    assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


@pytest.mark.parametrize(
    ("method", "address"),
    [("PUT", "/tasks/"), ("PATCH", "/tasks/"), ("DELETE", "/tasks/"), ("POST", "/tasks/{id}/")]
    + [
        (method, address) for method in ("TRACE", "CONNECT", "PROPFIND", "É") for address in ("/tasks/", "/tasks/{id}/")
    ],
)
def test_a_method_that_there_is_not_is_refused(owner: APIClient, task: Task, method: str, address: str) -> None:
    response = owner.generic(method, address.format(id=task.pk))

    assert (response.status_code, response.json()) == (405, {"detail": f'Method "{method}" not allowed.'})
    assert "GET" in response["Allow"]
    assert Task.objects.filter(pk=task.pk).exists()


@pytest.mark.parametrize("address", ["/tasks/", "/tasks/{id}/"])
def test_head_is_a_get_without_its_body(owner: APIClient, task: Task, address: str) -> None:
    response = owner.head(address.format(id=task.pk))

    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("accept", ["text/csv", "application/xml", "garbage", "", "/", ";", "a/b," * 5000])
@pytest.mark.parametrize("address", ["/tasks/", "/tasks/{id}/"])
def test_a_representation_that_there_is_not_is_refused(owner: APIClient, task: Task, address: str, accept: str) -> None:
    response = owner.get(address.format(id=task.pk), HTTP_ACCEPT=accept)

    assert response.status_code == 406
    assert response.json() == {"detail": "Could not satisfy the request Accept header."}


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json; indent=99999999", "text/csv, */*;q=0.1"])
def test_a_client_that_takes_much_gets_json(owner: APIClient, task: Task, accept: str) -> None:
    response = owner.get("/tasks/", HTTP_ACCEPT=accept)

    assert response.status_code == 200
    assert response.json()["count"] == 1


@pytest.mark.parametrize("name", ["csv", "xml", "%00", "%FF", "json%00", "admin"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_format_that_there_is_not_is_not_found(owner: APIClient, method: str, name: str) -> None:
    response = getattr(owner, method)(f"/tasks/?format={name}")

    assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


@pytest.mark.parametrize("header", ["HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD"])
def test_a_header_overrides_no_method(owner: APIClient, task: Task, header: str) -> None:
    headers: dict[str, Any] = {header: "DELETE"}

    assert owner.post(f"/tasks/{task.pk}/", **headers).status_code == 405
    assert owner.get(f"/tasks/{task.pk}/", **headers).status_code == 200
    assert Task.objects.filter(pk=task.pk).exists()


@pytest.mark.parametrize("query", ["", "?_method=DELETE", "?method=DELETE"])
def test_a_form_overrides_no_method(owner: APIClient, task: Task, query: str) -> None:
    form = {"_method": "DELETE", "_content": '{"title": "Boshqa"}', "_content_type": "application/json"}

    assert owner.post(f"/tasks/{task.pk}/{query}", form, format="multipart").status_code == 405
    assert Task.objects.get().title == "Yangi vazifa"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"HTTP_ACCEPT_LANGUAGE": "x" * 6000}, id="endless language"),
        pytest.param({"HTTP_ACCEPT_LANGUAGE": "\0;q=nan"}, id="NUL for a language"),
        pytest.param({"HTTP_COOKIE": "sessionid=\0"}, id="NUL for a session"),
        pytest.param({"HTTP_COOKIE": "sessionid=" + "a" * 5000}, id="endless session"),
        pytest.param({"HTTP_COOKIE": "django_language=../../x"}, id="path for a language"),
        pytest.param({"HTTP_COOKIE": "=;;\xff="}, id="garbage for cookies"),
        pytest.param({"HTTP_IF_MODIFIED_SINCE": "garbage"}, id="garbage for a date"),
        pytest.param({"HTTP_X_FORWARDED_FOR": "\0, ::::"}, id="garbage for an address"),
        pytest.param({"HTTP_X_FORWARDED_PROTO": "gopher"}, id="another protocol"),
        pytest.param({"HTTP_RANGE": "bytes=9-1"}, id="a range"),
    ],
)
def test_a_header_of_garbage_changes_nothing(owner: APIClient, task: Task, headers: dict[str, Any]) -> None:
    response = owner.get("/tasks/", **headers)

    assert (response.status_code, response.json()["count"]) == (200, 1)


@pytest.mark.parametrize("host", ["evil.example", "a b", "testserver:x", "", "[::1", "testserver, evil.example"])
def test_a_host_that_is_not_ours_is_refused(visitor: APIClient, host: str) -> None:
    response = visitor.get("/tasks/", HTTP_HOST=host)

    assert (response.status_code, response.json()) == (400, {"detail": "Malformed request."})


def test_options_tells_what_can_be_sent(owner: APIClient, task: Task) -> None:
    fields = owner.options("/tasks/").json()["actions"]["POST"]

    assert fields["title"]["max_length"] == 200
    assert fields["owner"]["read_only"]
