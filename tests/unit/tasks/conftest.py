"""Clients for the tests of the API: a 500 is returned as a response, and an undocumented status fails the test."""

import pytest
from django.contrib.auth.models import User

from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient


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
