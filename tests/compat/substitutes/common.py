"""What Dramatiq's modules of tests import from their package: a worker, marks, and how to reach RabbitMQ."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pika
import pytest

_URL = pika.URLParameters(os.environ["RABBITMQ_URL"])
RABBITMQ_CREDENTIALS = _URL.credentials
RABBITMQ_USERNAME, RABBITMQ_PASSWORD = _URL.credentials.username, _URL.credentials.password

_never = pytest.mark.skipif(False, reason="")
skip_in_ci = skip_on_windows = skip_with_gevent = skip_unless_rabbit_mq = _never
skip_on_pypy = pytest.mark.skipif(platform.python_implementation() == "PyPy", reason="PyPy has no time limits")
skip_without_gevent = pytest.mark.skip(reason="without gevent")


@contextmanager
def worker(*arguments: Any, **options: Any) -> Iterator[dramatiq.Worker]:
    """Run a worker inside the block."""
    running = dramatiq.Worker(*arguments, **options)
    running.start()
    try:
        yield running
    finally:
        running.stop()
