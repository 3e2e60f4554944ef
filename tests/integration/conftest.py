"""The service as its users know it: real web and worker processes over real PostgreSQL and RabbitMQ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.local.demo import Walk
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import Stack


@pytest.fixture
def walk(stack: Stack, stack_log: Path) -> Iterator[Walk]:
    """A client with a token, which takes the steps of the lesson."""
    with Walk(stack, log=stack_log) as walk:
        walk.get_token()
        yield walk


@pytest.fixture
def management(rabbitmq: PrivateRabbitmq) -> Iterator[httpx.Client]:
    """RabbitMQ's management API."""
    with httpx.Client(
        base_url=f"{rabbitmq.management_url}api/", auth=(rabbitmq.username, rabbitmq.password), timeout=30
    ) as client:
        yield client


@pytest.fixture
def rabbitmq_queues(stack: Stack, management: httpx.Client) -> dict[str, Any]:
    """RabbitMQ's queues by name, as the management UI shows them, once the workers have declared theirs."""

    def queues() -> dict[str, Any]:
        return {queue["name"]: queue for queue in management.get("queues").json()}

    assert wait_until(lambda: {"activity", "activity.XQ"} <= set(queues()), timeout_seconds=30)
    return queues()
