"""Who changes something, in which request: known where the change is made, carried along to where it is logged."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The origin of a message."""

    request_id: str = ""

    changed_by: str = ""
    """A name; empty for the system itself."""

    changed_by_id: int | None = None


NOBODY = Context()

_current: ContextVar[Context] = ContextVar("outbox_context", default=NOBODY)


def current_context() -> Context:
    """Return the origin of what is sent now."""
    return _current.get()


@contextmanager
def sent_by(context: Context) -> Iterator[None]:
    """Make `context` the origin of everything sent inside."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
