"""Many clients at once, and which of their changes are events."""

from collections.abc import Callable
from typing import Any

from actors.activity import SUBJECT
from actors.outbox.models import OutboxMessage
from tasks.models import Task

CROWD = 8

Crowd = Callable[[Callable[[int], Any]], list[Any]]


def sent_versions(task: Task) -> list[int | None]:
    """Return the versions of which the outbox has messages, in order."""
    messages = OutboxMessage.objects.filter(subject=f"{SUBJECT}{task.pk}")
    return list(messages.order_by("sequence").values_list("sequence", flat=True))
