"""A request is freed as soon as it is answered."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from tasks.models import Task
from tests.tokens import bearer
from tests.uncollected import uncollected

REQUESTS: dict[str, tuple[int, Callable[[APIClient, int], HttpResponse]]] = {
    "list": (200, lambda client, _: client.get("/tasks/")),
    "page by cursor": (200, lambda client, _: client.get("/tasks/?pagination=cursor")),
    "one": (200, lambda client, task: client.get(f"/tasks/{task}/")),
    "create": (201, lambda client, _: client.post("/tasks/", {"title": "Yangi"}, format="json")),
    "change": (200, lambda client, task: client.patch(f"/tasks/{task}/", {"title": "Boshqa"}, format="json")),
    "delete": (204, lambda client, task: client.delete(f"/tasks/{task}/")),
    "refused": (400, lambda client, _: client.post("/tasks/", {}, format="json")),
    "missing": (404, lambda client, _: client.get("/tasks/0/")),
}


class Cached(APIView):
    runs = 0

    def get(self, request: Request) -> Response:
        Cached.runs += 1
        return Response({"run": Cached.runs})


urlpatterns = [path("cached/", cache_page(60)(Cached.as_view()))]


@pytest.fixture
def client(user1: User) -> APIClient:
    # With a token, as programs come: the messages and sessions of browsers have cycles of their own.
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user1))
    return client


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("kind", [APIView, Request])
def test_nothing_of_it_is_left_to_the_garbage_collector(
    client: APIClient, user1: User, name: str, kind: type[object]
) -> None:
    task = Task.objects.create(title="Bor", owner=user1)
    status, ask = REQUESTS[name]
    with uncollected(kind) as found:
        answer = ask(client, task.pk)
        assert answer.status_code == status
        # The test client's own cycle: a response refers to the function that reads it as JSON, which refers to it.
        del answer.json  # type: ignore[attr-defined]
        del answer
    assert found == []


@pytest.mark.urls(__name__)
def test_an_answer_that_django_has_cached_is_given_again(client: APIClient) -> None:
    # Django's cache keeps it without the view that it came from.
    first, second = client.get("/cached/"), client.get("/cached/")
    assert (second.status_code, second.content) == (200, first.content) == (200, b'{"run":1}')
