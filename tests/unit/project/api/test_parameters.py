"""Query parameters that mean nothing are refused everywhere, by name; the schema documents all that there are."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from actors.rest.known import KnownParameters
from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient, openapi

# Not within a transaction: the end of a stream closes its connection.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

EMPTY = "Give the parameter a value, or leave it out."
TWICE = "Give the parameter once."
OPERATIONS = [
    pytest.param(path, method, id=f"{method} {path}")
    for path, operations in openapi()["paths"].items()
    for method in operations
    if not path.startswith("/health/")  # probes take anything
]
LISTS = ["/tasks/", "/activity/", "/tasks/{task_id}/activity/"]


@pytest.fixture
def task(user1: User) -> Task:
    return Task.objects.create(title="Yangi vazifa", owner=user1)


@pytest.fixture
def client(task: Task) -> SchemaCheckingClient:
    """The owner of a task."""
    client = SchemaCheckingClient()
    client.force_authenticate(task.owner)
    return client


def send(client: SchemaCheckingClient, method: str, path: str, task: Task, query: str, **headers: str) -> Any:
    address = f"{re.sub('{.*}', str(task.pk), path)}?{query}"
    response = client.generic(method.upper(), address, headers=headers)
    response.close()  # a stream would keep its place
    return response


def documented(path: str, method: str) -> list[str]:
    """The parameters of an operation, `format` among them."""
    described = openapi()["paths"][path][method].get("parameters", [])
    return sorted({"format"} | {each["name"] for each in described if each["in"] == "query"})


def unknown(names: list[str]) -> str:
    return f"There is no such parameter. Known are: {', '.join(names)}."


def views(resolver: URLResolver) -> Iterator[type[APIView]]:
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            yield from views(each)
        elif isinstance(each, URLPattern) and hasattr(each.callback, "cls"):
            yield each.callback.cls


def test_every_view_of_ours_refuses_what_it_does_not_know() -> None:
    ours = {view for view in views(get_resolver()) if not view.__module__.startswith("drf_spectacular.")}

    assert {view.__name__ for view in ours if not issubclass(view, KnownParameters)} == {"SchemaView", "DocsView"}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_a_parameter_that_there_is_not_is_named_beside_those_that_there_are(
    client: SchemaCheckingClient, task: Task, path: str, method: str
) -> None:
    answer = send(client, method, path, task, "complete=true")

    assert (answer.status_code, answer.json()) == (400, {"complete": [unknown(documented(path, method))]})
    assert Task.objects.filter(pk=task.pk).exists()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_a_parameter_has_a_value_and_is_given_once(
    client: SchemaCheckingClient, task: Task, path: str, method: str
) -> None:
    renderer = {"/tasks/export/": "jsonl", "/activity/stream/": "sse"}.get(path, "json")
    for name in documented(path, method):
        value = renderer if name == "format" else "1"

        for empty in (name, f"{name}=", f"{name}=%20%09"):
            # To negotiation a format of spaces is one that there is not.
            status, said = (404, None) if empty == "format=%20%09" else (400, {name: [EMPTY]})
            answer = send(client, method, path, task, empty)
            assert (answer.status_code, said and answer.json()) == (status, said)

        answer = send(client, method, path, task, f"{name}={value}&{name}={value}")
        assert (answer.status_code, answer.json()) == (400, {name: [TWICE]})


def test_all_that_is_wrong_is_said_at_once(client: SchemaCheckingClient, task: Task) -> None:
    answer = send(client, "get", "/tasks/", task, "complete=true&owner=&completed=true&completed=false&=x")

    message = unknown(documented("/tasks/", "get"))
    assert answer.json() == {"complete": [message], "owner": [EMPTY], "completed": [TWICE], "": [message]}


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "ў" * 500, "detail", "Completed"])
def test_an_unknown_parameter_may_have_any_name(client: SchemaCheckingClient, name: str) -> None:
    answer = client.get("/tasks/?" + "".join(f"%{byte:02x}" for byte in name.encode(errors="surrogatepass")) + "=1")

    assert answer.status_code == 400
    assert list(answer.json()) == [name.encode(errors="surrogatepass").decode(errors="replace")]


def test_the_root_takes_a_language_and_is_found_in_its_formats(client: SchemaCheckingClient) -> None:
    assert client.get("/?lang=en").status_code == 200
    assert client.get("/?language=uz").json() == {"language": [unknown(["format", "lang"])]}
    assert [client.get(f"/?format={name}").status_code for name in ("json", "api")] == [200, 200]


def test_options_of_a_list_have_no_parameters(client: SchemaCheckingClient) -> None:
    assert client.options("/tasks/?completed=true").json() == {"completed": [unknown(["format"])]}


def test_a_method_that_there_is_not_is_refused_first(client: SchemaCheckingClient, task: Task) -> None:
    assert client.delete("/tasks/?completed=true").status_code == 405
    assert client.post(f"/tasks/{task.pk}/?complete=true").status_code == 405


def test_who_is_not_signed_in_is_refused_first(task: Task) -> None:
    assert SchemaCheckingClient().get("/tasks/?complete=true").status_code == 401


# Pages of the browsable API


@pytest.mark.parametrize("path", LISTS)
def test_the_form_of_filters_of_a_page_may_send_all_its_fields(
    client: SchemaCheckingClient, task: Task, path: str
) -> None:
    page = send(client, "get", path, task, "", Accept="text/html").content.decode()
    forms = re.findall(r"<form class=\"form\".*?</form>", page, re.DOTALL)
    fields = [name for form in forms for name in re.findall(r'name="(\w+)"', form)]
    assert len(fields) >= 3

    assert (
        send(client, "get", path, task, "&".join(f"{name}=" for name in fields), Accept="text/html").status_code == 200
    )


@pytest.mark.parametrize("query", ["pagination=", "cursor=", "pagination=cursor&page="])
def test_an_empty_parameter_of_a_page_is_none(client: SchemaCheckingClient, query: str) -> None:
    assert client.get(f"/tasks/?{query}", HTTP_ACCEPT="text/html").status_code == 200


@pytest.mark.parametrize("query", ["complete=true", "completed=true&completed=false"])
def test_a_page_too_refuses_what_means_nothing(client: SchemaCheckingClient, query: str) -> None:
    assert client.get(f"/tasks/?{query}", HTTP_ACCEPT="text/html").status_code == 400


def test_a_page_writes_at_its_own_address(client: SchemaCheckingClient, task: Task) -> None:
    body = {"title": "Boshqa"}
    page: dict[str, Any] = {"HTTP_ACCEPT": "text/html"}
    query = "completed=&owner=&search=Yangi&format=api"

    assert client.post(f"/tasks/?{query}", body, format="json", **page).status_code == 201
    assert client.options(f"/tasks/?{query}", **page).status_code == 200
    assert client.post(f"/tasks/?{query}", body, format="json").status_code == 201  # by its format
    assert client.post("/tasks/?search=Yangi", body, format="json").status_code == 400
