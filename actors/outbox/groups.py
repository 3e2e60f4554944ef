"""Makes `dramatiq.group` send a group atomically: all of its messages or none.

Guarantee: all messages of a group, including those of nested groups and pipelines, are written in one transaction. Of a
pipeline only the first message is written then; `worker.follow_ups` sends each later one.
"""

from collections.abc import Iterator
from functools import wraps
from typing import Any

from django.db import transaction
from dramatiq import group

from actors.outbox.broker import GROUP_CALLBACKS_NOT_SUPPORTED, OutboxMixin
from actors.outbox.exceptions import NotSupported
from actors.outbox.worker.dramatiq_internals import replace_group_run, run_group


@wraps(run_group)
def run_as_a_whole(self: group, *, delay: int | None = None) -> group:
    """Run the group; if its broker is the outbox, in one transaction.

    Raises:
        NotSupported: the group, or one inside it, has completion callbacks; nothing was sent.
    """
    if not isinstance(self.broker, OutboxMixin):
        return run_group(self, delay=delay)
    if any(each.completion_callbacks for each in _groups(self)):
        raise NotSupported(GROUP_CALLBACKS_NOT_SUPPORTED)
    with transaction.atomic():
        return run_group(self, delay=delay)


def make_groups_atomic() -> None:
    """Replace `group.run` by `run_as_a_whole`; to be called when the process starts."""
    replace_group_run(run_as_a_whole)


def _groups(outer: Any) -> Iterator[group]:
    yield outer
    for child in outer.children:
        if isinstance(child, group):
            yield from _groups(child)
