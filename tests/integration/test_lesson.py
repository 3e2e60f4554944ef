"""Every row of the lesson, named, against the running service: real HTTP, real RabbitMQ, real workers, PostgreSQL."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.local.demo import CREATED, DELETED, UPDATED, Walk
from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.ports import free_port
from project.local.stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def task(walk: Walk) -> Iterator[dict[str, Any]]:
    task = walk.client.post("tasks/", json={"title": "Yangi vazifa", "description": "Test vazifa"}).json()
    yield task
    walk.client.delete(f"tasks/{task['id']}/")


def test_row_task_model_and_serializer_a_task_has_an_owner(task: dict[str, Any]) -> None:
    assert set(task) == {
        "id",
        "title",
        "description",
        "completed",
        "owner",
        "owner_id",
        "version",
        "created_at",
        "updated_at",
    }
    assert task["owner"] == USERNAME


def test_row_viewset_with_jwt_nobody_gets_in_without_a_token(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}tasks/").status_code == 401


def test_row_permissions_others_may_read_and_not_write(stack: Stack, task: dict[str, Any]) -> None:
    make_user = "from django.contrib.auth.models import User; User.objects.create_user('user2', password='pass456')"
    stack.manage("shell", "--no-imports", "-c", make_user)
    token = httpx.post(f"{stack.url}api/token/", json={"username": "user2", "password": "pass456"}).json()["access"]
    with httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {token}"}) as other:
        assert other.get(f"tasks/{task['id']}/").status_code == 200
        assert other.patch(f"tasks/{task['id']}/", json={"completed": True}).status_code == 403
        assert other.delete(f"tasks/{task['id']}/").status_code == 403


def test_row_filters_completed_and_owner(walk: Walk, task: dict[str, Any]) -> None:
    def found(**params: str) -> list[int]:
        return [one["id"] for one in walk.client.get("tasks/", params={**params, "page_size": "100"}).json()["results"]]

    assert task["id"] in found(completed="false", owner=str(task["owner_id"]))
    assert task["id"] not in found(completed="true")
    assert found(owner=str(task["owner_id"] + 1_000)) == []


@pytest.mark.parametrize("text", ["yangi", "test vazifa"])
def test_row_search_on_title_and_description(walk: Walk, task: dict[str, Any], text: str) -> None:
    found = walk.client.get("tasks/", params={"search": text, "page_size": 100}).json()["results"]
    assert task["id"] in [one["id"] for one in found]
    assert walk.client.get("tasks/", params={"search": f"{text}-qwerty"}).json()["count"] == 0


def test_row_ordering_by_created_at_and_completed_default_created_at(walk: Walk, task: dict[str, Any]) -> None:
    newer = walk.client.post("tasks/", json={"title": "Yangiroq", "completed": True}).json()["id"]

    def order(**params: str) -> list[int]:
        found = walk.client.get("tasks/", params={**params, "page_size": 100}).json()["results"]
        return [one["id"] for one in found if one["id"] in (task["id"], newer)]

    assert order() == order(ordering="created_at") == order(ordering="completed") == [task["id"], newer]
    assert order(ordering="-created_at") == order(ordering="-completed") == [newer, task["id"]]


def test_row_pagination_five_a_page(walk: Walk) -> None:
    for number in range(6):
        walk.client.post("tasks/", json={"title": f"Sahifa {number}"})
    page = walk.client.get("tasks/", params={"search": "Sahifa"}).json()
    assert (len(page["results"]), page["count"]) == (5, 6)
    assert len(walk.client.get(page["next"]).json()["results"]) == 1


@pytest.mark.heavy
def test_row_throttles_ten_an_hour_anonymous_and_twenty_signed_in(stack: Stack, tmp_path: Path) -> None:
    rates = {**stack.variables, "THROTTLE_ANON": "10/hour", "THROTTLE_USER": "20/hour", "LOG_FILE": ""}
    slow = Stack(directory=tmp_path, port=free_port(), rabbitmq_url=stack.rabbitmq_url, variables=rates)
    with slow, httpx.Client(base_url=slow.url) as client:
        # A request without a token to anything but these addresses is refused before it is counted.
        anonymous = [client.post("api/token/", json={"username": USERNAME, "password": PASSWORD}) for _ in range(11)]
        assert [answer.status_code for answer in anonymous] == [200] * 10 + [429]
        assert int(anonymous[-1].headers["Retry-After"]) > 0
        token = anonymous[0].json()["access"]
        signed_in = [client.get("tasks/", headers={"Authorization": f"Bearer {token}"}) for _ in range(21)]
        assert [answer.status_code for answer in signed_in] == [200] * 20 + [429]
        assert int(signed_in[-1].headers["Retry-After"]) > 0


def test_row_api_token_and_refresh(stack: Stack) -> None:
    pair = httpx.post(f"{stack.url}api/token/", json={"username": USERNAME, "password": PASSWORD}).json()
    fresh = httpx.post(f"{stack.url}api/token/refresh/", json={"refresh": pair["refresh"]}).json()
    answer = httpx.get(f"{stack.url}tasks/", headers={"Authorization": f"Bearer {fresh['access']}"})
    assert answer.status_code == 200


def test_row_actor_and_signal_of_creation_the_worker_writes_the_line(walk: Walk, task: dict[str, Any]) -> None:
    line = walk.wait_for_line(CREATED.format(**task))
    assert line == f"[Dramatiq] Yangi vazifa yaratildi: Yangi vazifa (ID: {task['id']}, Owner: user1)"


def test_row_lines_reach_the_terminal_too(walk: Walk, stack: Stack, task: dict[str, Any]) -> None:
    line = walk.wait_for_line(CREATED.format(**task))
    terminal = stack.supervisor.output.read_text("utf-8").splitlines()
    assert [written for written in terminal if written.endswith(line)]


def test_row_time_zone_asia_tashkent(task: dict[str, Any]) -> None:
    assert datetime.fromisoformat(task["created_at"]).utcoffset() == timedelta(hours=5)


def test_row_celery_is_replaced_rabbitmq_holds_the_queue_of_the_actor(rabbitmq_queues: dict[str, Any]) -> None:
    assert {"activity", "activity.XQ"} <= set(rabbitmq_queues)


def test_exercise_1_create_over_rest(walk: Walk) -> None:
    assert walk.create().startswith("[Dramatiq] Yangi vazifa yaratildi: Yangi vazifa (ID: ")


def test_exercise_2_and_row_admin_registration_create_in_the_admin(walk: Walk) -> None:
    assert walk.create_in_admin().startswith("[Dramatiq] Yangi vazifa yaratildi: Admin vazifasi (ID: ")


def test_exercise_3_create_with_the_workers_stopped_and_see_the_line_later(walk: Walk) -> None:
    walk.create_without_workers()
    assert walk.see_late_line().startswith("[Dramatiq] Yangi vazifa yaratildi: Kechikkan vazifa (ID: ")


def test_exercise_4_and_row_signal_of_update(walk: Walk, task: dict[str, Any]) -> None:
    walk.client.patch(f"tasks/{task['id']}/", json={"completed": True})
    line = walk.wait_for_line(UPDATED.format(**task))
    assert line == f"Vazifa yangilandi: Yangi vazifa (ID: {task['id']}, Owner: user1)"


def test_row_signal_of_deletion(walk: Walk, task: dict[str, Any]) -> None:
    walk.client.delete(f"tasks/{task['id']}/")
    line = walk.wait_for_line(DELETED.format(**task))
    assert line == f"Vazifa o'chirildi: Yangi vazifa (ID: {task['id']}, Owner: user1)"
