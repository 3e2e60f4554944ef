"""A request is freed as soon as it is answered."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.test import APIClient
from rest_framework.views import APIView
from rest_framework_simplejwt.tokens import AccessToken

from tasks.models import Task
from tests.garbage import only_collected

REQUESTS: dict[str, Callable[[APIClient, int], HttpResponse]] = {
    "list": lambda client, _: client.get("/tasks/"),
    "page by cursor": lambda client, _: client.get("/tasks/?pagination=cursor"),
    "one": lambda client, task: client.get(f"/tasks/{task}/"),
    "create": lambda client, _: client.post("/tasks/", {"title": "Yangi"}, format="json"),
    "change": lambda client, task: client.patch(f"/tasks/{task}/", {"title": "Boshqa"}, format="json"),
    "delete": lambda client, task: client.delete(f"/tasks/{task}/"),
    "refused": lambda client, _: client.post("/tasks/", {}, format="json"),
    "missing": lambda client, _: client.get("/tasks/0/"),
}


@pytest.fixture
def client(user1: User) -> APIClient:
    # With a token, as programs come: the messages and sessions of browsers have cycles of their own.
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {AccessToken.for_user(user1)}")
    return client


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("kind", [APIView, Request])
def test_nothing_of_it_is_left_to_the_garbage_collector(
    client: APIClient, user1: User, name: str, kind: type[object]
) -> None:
    task = Task.objects.create(title="Bor", owner=user1)
    with only_collected(kind) as found:
        answer = REQUESTS[name](client, task.pk)
        # The test client's own cycle: its answers hold the function that reads them as JSON, which holds the answer.
        del answer.json  # type: ignore[attr-defined]
        del answer
    assert found == []
