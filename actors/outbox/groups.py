"""Makes `dramatiq.group` keep the outbox's promise: a group is sent as a whole or not at all.

Guarantee: all messages of a group, those of groups and pipelines in it included, are one transaction. A pipeline is
one message, whose next steps `settlement` sends.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, cast

from django.db import transaction
from dramatiq import group

from actors.outbox.broker import GROUP_CALLBACKS_NOT_SUPPORTED, OutboxMixin
from actors.outbox.exceptions import NotSupported

_run = cast("Callable[..., group]", group.run)


@wraps(_run)
def run_as_a_whole(self: group, *, delay: int | None = None) -> group:
    """Run the group, in one transaction if its broker is an outbox.

    Raises:
        NotSupported: it, or a group in it, has completion callbacks; nothing was sent.
    """
    if not isinstance(self.broker, OutboxMixin):
        return _run(self, delay=delay)
    if any(each.completion_callbacks for each in _groups(self)):
        raise NotSupported(GROUP_CALLBACKS_NOT_SUPPORTED)
    with transaction.atomic():
        return _run(self, delay=delay)


def make_groups_atomic() -> None:
    """Put `run_as_a_whole` in the place of `group.run`: Dramatiq sends one message after the other, without a hook.

    To be called at start; to call it again does nothing.
    """
    group.run = run_as_a_whole  # type: ignore[method-assign]


def _groups(outer: Any) -> Iterator[group]:
    yield outer
    for child in outer.children:
        if isinstance(child, group):
            yield from _groups(child)
