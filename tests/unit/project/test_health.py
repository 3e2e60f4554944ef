"""Health probes: alive while the process answers, ready while the database does, for any host and scheme."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from actors.outbox.models import OutboxMessage, State, WatchedQueue
from tasks.models import Task

READY = {"status": "ok", "database": "ok", "queues": "ok", "messages": "ok"}
PROBES = ["/health/live/", "/health/ready/"]


@pytest.mark.django_db
@pytest.mark.usefixtures("database")
def test_a_service_with_its_database_is_ready() -> None:
    response = Client().get("/health/ready/")

    assert (response.status_code, response.json()) == (200, READY)


@pytest.mark.django_db
@pytest.mark.usefixtures("database")
def test_a_service_whose_queue_another_installation_uses_is_ready_and_says_so() -> None:
    WatchedQueue.objects.create(name="activity", probe_at=timezone.now())

    response = Client().get("/health/ready/")

    assert (response.status_code, response.json()["queues"]) == (200, "shared with another installation")


@pytest.mark.django_db
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("state", "due_for", "said"),
    [
        (State.PENDING, 31, "late"),
        (State.SCHEDULED, 31, "late"),
        (State.PENDING, 1, "ok"),
        (State.SCHEDULED, -60, "ok"),
        (State.PUBLISHED, 31, "ok"),
        (State.DEAD, 31, "ok"),
    ],
)
def test_a_service_whose_messages_have_waited_for_long_is_ready_and_says_so(
    state: State, due_for: int, said: str, user1: User
) -> None:
    Task.objects.create(title="Bir", owner=user1)
    due_at = timezone.now() - timedelta(seconds=due_for)
    assert OutboxMessage.objects.update(state=state, due_at=due_at) == 1

    response = Client().get("/health/ready/")

    assert (response.status_code, response.json()) == (200, READY | {"messages": said})


def test_a_live_service_says_so_without_a_database() -> None:
    response = Client().get("/health/live/")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.usefixtures("database_away")
def test_without_its_database_the_service_is_alive_and_not_ready() -> None:
    live, ready = (Client().get(path) for path in PROBES)

    assert live.status_code == 200
    assert ready.status_code == 503
    assert ready.json() == {"status": "unavailable", "database": "unavailable"}


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["10.42.0.17:8000", "[fd00::17]:8000", "vazifa-7d9f", "evil.example", "a b", ""])
@pytest.mark.parametrize("path", PROBES)
def test_a_probe_is_answered_whatever_host_it_asks_for(path: str, host: str) -> None:
    assert Client().get(path, headers={"host": host}).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
def test_a_probe_is_answered_over_http_where_all_else_is_sent_to_https(path: str, settings: object) -> None:
    settings.SECURE_SSL_REDIRECT = True  # type: ignore[attr-defined]

    assert Client().get(path).status_code == 200
    assert Client().get("/tasks/").status_code == 301


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
def test_a_probe_is_answered_over_http_under_a_prefix_too(path: str, settings: object) -> None:
    settings.SECURE_SSL_REDIRECT = True  # type: ignore[attr-defined]

    assert Client(SCRIPT_NAME="/vazifa").get(path).status_code == 200
    assert Client(SCRIPT_NAME="/vazifa").get("/tasks/").status_code == 301


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["head", "options", "post"])
@pytest.mark.parametrize("path", PROBES)
def test_a_probe_may_use_any_method(path: str, method: str) -> None:
    assert getattr(Client(enforce_csrf_checks=True), method)(path).status_code == 200


@pytest.mark.parametrize("path", ["/health/", "/health/ready/x/", "/health/live.json", "/x/health/live/"])
def test_other_addresses_are_no_probes(path: str) -> None:
    assert Client().get(path).status_code == 404


def test_other_hosts_are_refused_everywhere_else() -> None:
    assert Client().get("/tasks/", headers={"host": "10.42.0.17"}).status_code == 400
