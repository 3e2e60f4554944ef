"""What tests of the activity's API share."""

import pytest
from django.contrib.auth.models import User

from tests.unit.schema_client import SchemaCheckingClient


@pytest.fixture
def reader(user2: User) -> SchemaCheckingClient:
    """A user who owns no task."""
    client = SchemaCheckingClient()
    client.force_authenticate(user2)
    return client
