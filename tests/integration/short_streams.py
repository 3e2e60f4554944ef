"""The service, with streams that end after a second; a test logs events in it, and takes its places for streams."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection

from project.wsgi import application as service

# After Django's set-up, which `project.wsgi` does.
from actors.api import stream  # isort: skip
from actors.models import Activity, Event  # isort: skip

stream.MAX_SECONDS = 1.0
NEW = itertools.count(time.time_ns())  # ids of tasks, also in a process that replaces another


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    _, name, *rest = environ["PATH_INFO"].split("/")
    act = ACTS.get(name)
    if act is None:
        return service(environ, start_response)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(act(int(rest[0]))).encode()]


def log(count: int) -> list[int]:
    """Log events, and return their ids."""
    try:
        return [
            Activity.objects.create(event=Event.TASK_CREATED, task_id=next(NEW), title="Vazifa\u2028bir").pk
            for _ in range(count)
        ]
    finally:
        connection.close()


def have_places(count: int) -> None:
    """Have places for so many clients."""
    settings.STREAM_CLIENTS = count


ACTS: dict[str, Callable[[int], Any]] = {"log": log, "places": have_places}
