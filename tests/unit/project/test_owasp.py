"""One test for each of OWASP's ten risks of APIs (2023), by its number and name; docs/security.md names all others."""

import json
import socket
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings
from rest_framework.test import APIClient

from actors.models import Activity
from actors.outbox import envelope
from actors.outbox.models import OutboxMessage
from actors.outbox.testing import InlineWorker
from project.api.json import FastJSONRenderer
from tasks.models import Task
from tests.conftest import PASSWORD
from tests.tokens import bearer

pytestmark = pytest.mark.django_db

# What is no part of the REST API: pages, probes, the schema itself.
PAGES = ("admin/", "api-auth/", "health/", "api/schema/", "api/docs/")
# Without a token; each has limits of its own, by address.
OPEN = {"", *(f"api/token/{action}" for action in ("", "refresh/", "verify/", "logout/", "logout-everywhere/"))}
CREATION = "log_task_creation"


def signed_in(user: User) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=bearer(user))


def addresses() -> set[str]:
    """Return all addresses of the API, with 1 in the place of each id."""

    def walk(resolver: URLResolver, prefix: str) -> set[str]:
        found = set()
        for each in resolver.url_patterns:
            path = prefix + str(each.pattern).removeprefix("^").removesuffix("$").replace("<int:task_id>", "1")
            found |= walk(each, path) if isinstance(each, URLResolver) else {path}
            assert isinstance(each, URLResolver | URLPattern)
        return found

    return {path for path in walk(get_resolver(), "") if not path.startswith(PAGES)}


def by_example(path: str) -> str:
    return "/" + path.replace("(?P<pk>[^/.]+)", "1").replace(r"\.(?P<format>[a-z0-9]+)/?", ".json")


def test_api1_broken_object_level_authorization(user1: User, user2: User) -> None:
    task = Task.objects.create(title="Bir", owner=user1)
    other = signed_in(user2)
    address, change = f"/tasks/{task.pk}/", {"title": "Ikki"}
    answers = [other.patch(address, change), other.put(address, change), other.delete(address)]
    answers.append(other.patch("/tasks/bulk/", [{"id": task.pk, **change}], format="json"))
    answers.append(other.delete("/tasks/bulk/", [{"id": task.pk}], format="json"))
    assert [answer.status_code for answer in answers] == [403] * 5
    assert Task.objects.filter(pk=task.pk, title="Bir", version=1).exists()


def test_api2_broken_authentication(user1: User) -> None:
    client = signed_in(user1)
    assert client.get("/tasks/").status_code == 200
    user1.set_password("another-password-for-tests")
    user1.save()
    assert client.get("/tasks/").status_code == 401
    header, payload, _signature = bearer(user1).removeprefix("Bearer ").split(".")
    for token in (f"{header}.{payload}.", f"{header}.{payload}.AAAA", f"eyJhbGciOiJub25lIn0.{payload}."):
        assert APIClient(HTTP_AUTHORIZATION=f"Bearer {token}").get("/tasks/").status_code == 401


def test_api3_broken_object_property_level_authorization(user1: User, user2: User) -> None:
    forged = {"id": 77, "owner": user2.username, "owner_id": user2.pk, "version": 9, "created_at": "2000-01-01T00:00Z"}
    answer = signed_in(user1).post("/tasks/", {"title": "Bir", **forged})
    assert answer.status_code == 201
    task = Task.objects.get()
    assert (task.owner_id, task.version, task.pk == 77, task.created_at.year == 2000) == (user1.pk, 1, False, False)
    assert set(answer.json()) == {
        "id", "title", "description", "completed", "owner", "owner_id", "version", "created_at", "updated_at"
    }  # fmt: skip


def test_api4_unrestricted_resource_consumption(user1: User, settings: Settings) -> None:
    Task.objects.bulk_create([Task(title=str(number), owner=user1) for number in range(120)])
    client = signed_in(user1)
    assert len(client.get("/tasks/?page_size=1000000").json()["results"]) == 100
    assert client.get("/tasks/?search=one+two+three+four+five+six").status_code == 400
    assert client.get("/tasks/?search=a").status_code == 400
    large = json.dumps({"title": "Bir", "description": "x" * settings.MAX_BODY_BYTES})
    assert client.post("/tasks/", large, content_type="application/json").status_code == 413
    deep = "[" * 100_000 + "]" * 100_000
    assert client.post("/tasks/", deep, content_type="application/json").status_code == 400
    with CaptureQueriesContext(
        connection,
    ) as queries:
        client.get("/tasks/?page_size=100")
    assert len(queries) <= 4  # however many tasks there are


def test_api5_broken_function_level_authorization(user1: User) -> None:
    closed = sorted(map(by_example, addresses() - OPEN))
    assert {"/tasks/", "/tasks/1/", "/tasks/bulk/", "/activity/", "/activity/stream/"} <= set(closed)
    for address in closed:
        for method in ("get", "post", "put", "patch", "delete"):
            assert getattr(APIClient(), method)(address).status_code in {401, 404}, (method, address)
    page = Client()
    page.force_login(user1)  # no member of the staff
    for address in ("/admin/", "/admin/outbox/outboxmessage/", "/admin/accounts/securityevent/", "/admin/auth/user/"):
        assert page.get(address).status_code == 302, address


@pytest.mark.django_db(transaction=True)  # an attempt to sign in commits on its own
def test_api6_unrestricted_access_to_sensitive_business_flows(
    user1: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.api.throttles.UserRateThrottle.THROTTLE_RATES", {"user": "3/hour", "anon": None})
    cache.clear()  # of requests of a user of another test, who had the same id
    client = signed_in(user1)
    assert [client.post("/tasks/", {"title": "Bir"}).status_code for _ in range(5)] == [201] * 3 + [429] * 2
    settings.LOGIN_LIMITS = {**settings.LOGIN_LIMITS, "account and address": (2, 3_600)}
    guess = {"username": user1.username, "password": "wrong"}
    assert [APIClient().post("/api/token/", guess).status_code for _ in range(4)] == [401] * 2 + [429] * 2


def test_api7_server_side_request_forgery(user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise AssertionError("a connection is opened because of what a client sent")

    client, worker = signed_in(user1), InlineWorker()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    url = "http://169.254.169.254/latest/meta-data/"
    answer = client.post("/tasks/", {"title": url, "description": f"<img src='{url}'> {{% include '{url}' %}}"})
    assert answer.status_code == 201
    worker.deliver_all()
    assert Activity.objects.get().title == url


def test_api8_security_misconfiguration(user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("a-secret-of-the-code")

    client = APIClient(raise_request_exception=False, HTTP_AUTHORIZATION=bearer(user1))
    monkeypatch.setattr(FastJSONRenderer, "render", fail)
    answer = client.get("/tasks/")
    assert (answer.status_code, set(json.loads(answer.content))) == (500, {"detail"})
    assert b"a-secret-of-the-code" not in answer.content
    assert b"Traceback" not in answer.content
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in answer.headers


def test_api9_improper_inventory_management(user1: User) -> None:
    paths = signed_in(user1).get("/api/schema/?format=json").json()["paths"]
    described = {path.strip("/") for path in paths if not path.startswith("/health/")}
    served = {by_example(path).strip("/") for path in addresses() if "format" not in path} - {""}
    assert {path.replace("{id}", "1").replace("{task_id}", "1") for path in described} - {""} == served


def test_api10_unsafe_consumption_of_apis(user1: User) -> None:
    """The one service whose data comes in is RabbitMQ: what differs from its row runs nothing."""
    signed_in(user1).post("/tasks/", {"title": "Bir"})
    row, worker = OutboxMessage.objects.get(actor=CREATION), InlineWorker()
    forged = json.loads(envelope.to_amqp(row).body)
    forged["args"] = json.loads(json.dumps(forged["args"]).replace("Bir", "forged"))
    forged["kwargs"] = json.loads(json.dumps(forged["kwargs"]).replace("Bir", "forged"))
    worker.deliver_copy(json.dumps(forged).encode())
    assert not Activity.objects.exists()
    worker.deliver(row)
    assert Activity.objects.get().title == "Bir"
    assert PASSWORD not in str(forged)
