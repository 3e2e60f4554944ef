"""Who changes something, in which request: known where the change is made, carried along to where it is logged. And,
there, the trail of the message that brought the work.

Guarantee: whoever is asked is asked when a message is sent, not earlier: a web request learns who its user is
halfway. Entered by the web's middleware and by `settlement`, read by `broker`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The origin of a message."""

    request_id: str = ""

    changed_by: str = ""
    """A name; empty for the system itself."""

    changed_by_id: int | None = None


NOBODY = Context()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trail:
    """How the message that is worked on came here; times are the database's."""

    sent_at: datetime

    published_at: datetime | None
    """When RabbitMQ had confirmed it; where a worker was faster than that stamp, when a relay took it up."""

    attempts: int
    """How often it was begun to be worked on in earnest: 1 at first, one more after each retry and replay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Origin:
    request_id: str

    ask: Callable[[], Context]


_trail: ContextVar[Trail | None] = ContextVar("outbox_trail", default=None)
_current: ContextVar[_Origin | None] = ContextVar("outbox_origin", default=None)


def current_context() -> Context:
    """Return the origin of what is sent now."""
    origin = _current.get()
    return origin.ask() if origin else NOBODY


def current_request_id() -> str:
    """Return the id of the request that is served, or whose work is done, without asking who sent it."""
    origin = _current.get()
    return origin.request_id if origin else ""


def current_trail() -> Trail | None:
    """Return the trail of the message whose actor runs; None where an actor is called as a function."""
    return _trail.get()


class WorkingFor:
    """Makes a message's origin that of everything sent inside, and its trail that of the work.

    No generator: each message enters it twice.
    """

    __slots__ = ("_origin", "_tokens", "_trail")

    def __init__(self, context: Context, trail: Trail) -> None:
        self._origin = _Origin(request_id=context.request_id, ask=lambda: context)
        self._trail = trail

    def __enter__(self) -> None:
        self._tokens = _current.set(self._origin), _trail.set(self._trail)

    def __exit__(self, *error: object) -> None:
        current, trail = self._tokens
        _trail.reset(trail)
        _current.reset(current)


@contextmanager
def sent_by(context: Context) -> Iterator[None]:
    """Make `context` the origin of everything sent inside."""
    with sent_during(context.request_id, ask=lambda: context):
        yield


@contextmanager
def sent_during(request_id: str, *, ask: Callable[[], Context]) -> Iterator[None]:
    """Make what `ask` answers, at each send, the origin of everything sent inside."""
    token = _current.set(_Origin(request_id=request_id, ask=ask))
    try:
        yield
    finally:
        _current.reset(token)
