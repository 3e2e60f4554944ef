"""Clients for the tests of the API: a 500 is returned as a response, and an undocumented status fails the test."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient
from tests.unit.tasks.crowd import CROWD, Crowd


@pytest.fixture
def visitor() -> SchemaCheckingClient:
    """A client that is not signed in."""
    return SchemaCheckingClient()


@pytest.fixture
def owner(user1: User) -> SchemaCheckingClient:
    """The client of user1, who owns `task`."""
    client = SchemaCheckingClient()
    client.force_authenticate(user1)
    return client


@pytest.fixture
def other(user2: User) -> SchemaCheckingClient:
    """The client of user2, who owns nothing."""
    client = SchemaCheckingClient()
    client.force_authenticate(user2)
    return client


@pytest.fixture
def task(user1: User) -> Task:
    return Task.objects.create(title="Yangi vazifa", description="Test vazifa", owner=user1)


@pytest.fixture
def crowd(database: str) -> Crowd:
    """Call `do` in 8 threads at once, each with its own connection; return the results."""
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")
    all_ready = threading.Barrier(CROWD, timeout=30)

    def at_once(do: Callable[[int], Any]) -> list[Any]:
        def join_in(number: int) -> Any:
            try:
                all_ready.wait()
                return do(number)
            finally:
                connection.close()

        with ThreadPoolExecutor(CROWD) as pool:
            return list(pool.map(join_in, range(CROWD)))

    return at_once
