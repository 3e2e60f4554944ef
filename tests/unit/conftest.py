"""Fixtures of the unit tests."""

import socket
from collections.abc import Iterator

import pytest
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper


@pytest.fixture
def database_away(db: None) -> Iterator[None]:
    """A PostgreSQL that refuses every connection: its port is taken, and no server listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = {"HOST": "127.0.0.1", "PORT": taken.getsockname()[1], "NAME": "vazifa", "USER": "vazifa"}
        present = connections["default"]
        away = connections.configure_settings({"default": {"ENGINE": "django.db.backends.postgresql", **place}})
        connections["default"] = DatabaseWrapper(away["default"], alias="default")
        yield
        connections["default"] = present
