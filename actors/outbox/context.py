"""The origin of a sent message (its request and user), the trail of the message whose actor runs, and a message's log
fields.

Guarantee: the origin's user is determined when a message is sent, not earlier: a web request's user is unknown until
it is authenticated. The web middleware and `worker.execution` enter a context, `broker` reads it.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

MAX_LOGGED_ERROR = 300  # characters
MAX_LOGGED_WORD = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The origin of a message."""

    request_id: str = ""

    changed_by: str = ""
    """A user's name; empty for the system itself."""

    changed_by_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trail:
    """When the message whose actor runs was sent and published, by the database's clock, and in how many attempts."""

    sent_at: datetime

    published_at: datetime | None
    """When RabbitMQ confirmed it; when a relay claimed it, if the worker runs it before the relay has marked it."""

    attempts: int
    """The number of its attempts, this one included: 1 at first, one more after each retry and replay."""


class _Origin(NamedTuple):
    request_id: str

    ask: Callable[[], Context]
    """Returns the context as known at the time of the call."""

    trail: Trail | None


# For messages sent outside any request and any actor, such as from a shell.
_NO_REQUEST = _Origin("", Context, None)
_current: ContextVar[_Origin] = ContextVar("outbox_origin", default=_NO_REQUEST)


def current_context() -> Context:
    """Return the origin of messages that are sent now."""
    return _current.get().ask()


def current_request_id() -> str:
    """Return the id of the request that is served, or that caused the work, without determining its user."""
    return _current.get().request_id


def current_trail() -> Trail | None:
    """Return the trail of the message whose actor runs; None if an actor is called as a function."""
    return _current.get().trail


def sent_by(context: Context, trail: Trail | None = None) -> AbstractContextManager[None]:
    """Make `context` the origin of every message sent inside the block.

    Args:
        context: the origin.
        trail: of the message whose actor runs inside the block; by default the current one.
    """
    return _SentFrom(_Origin(context.request_id, lambda: context, trail or current_trail()))


def sent_during(request_id: str, *, ask: Callable[[], Context]) -> AbstractContextManager[None]:
    """Make the result of `ask`, called at each send, the origin of every message sent inside the block.

    Args:
        request_id: of the request that is served.
        ask: returns the origin as known at the time of the call.
    """
    return _SentFrom(_Origin(request_id, ask, current_trail()))


class _SentFrom:
    # A class: it is faster than a generator, and each message enters it up to twice.
    __slots__ = ("_origin", "_token")

    def __init__(self, origin: _Origin) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        self._token = _current.set(self._origin)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


def log_fields(*, actor: str, subject: str, row: int, attempt: int, error: str = "") -> str:
    """Return a message's fields for log lines: `actor=send_mail subject=task:7 row=12 attempts=21 error='Timeout: …'`.

    Args:
        actor: the actor's name.
        subject: what the message is about, or empty.
        row: the id of its row.
        attempt: the number of its last attempt, the first being 0.
        error: why that attempt failed, or empty; cut at `MAX_LOGGED_ERROR`.
    """
    line = f"actor={log_word(actor)} subject={log_word(subject)} row={row} attempts={attempt + 1}"
    return f"{line} error={error[:MAX_LOGGED_ERROR]!r}" if error else line


def log_word(text: str) -> str:
    """Return a text as one field of a log line, cut and quoted if necessary: a foreign message may contain any text."""
    word = text[:MAX_LOGGED_WORD]
    return word if re.fullmatch(r"[\w.:@/-]+", word) else repr(word)
