"""Reads the body of a message from RabbitMQ. Any program with access to it may have written it: no value is trusted.

Guarantee: for any bytes `read` returns a message whose fields have the types that Dramatiq's hooks and the outbox rely
on, or says what is wrong; it raises nothing. Whether the message is one of ours, its row decides (`envelope`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from dramatiq import Message
from dramatiq.errors import DecodeError

# The Dramatiq option that carries the attempt reference.
OPTION = "outbox"
# The header with the id of the installation that published a message; messages of earlier releases have none.
INSTALLATION = "installation"
# As long as the row's columns: longer names belong to no message of an outbox.
MAX_ID_LENGTH = 64
MAX_NAME_LENGTH = 100
# How many bytes of a body a log line shows.
MAX_SHOWN_BYTES = 60
FIELD_TYPES = {"actor_name": str, "queue_name": str, "message_id": str, "kwargs": dict, "options": dict}
MAX_LENGTHS = {"actor_name": MAX_NAME_LENGTH, "queue_name": MAX_NAME_LENGTH, "message_id": MAX_ID_LENGTH}
# Dramatiq calculates with these, and asks for instances of what `throws` holds, before an actor is called and its row
# read. A value of another type would end its worker thread; JSON has none of a right type for `throws`.
NUMBERS = ("max_age", "time_limit")
NUMBER = (int, float, type(None))
# Digits that fit into the columns: a database refuses a statement with larger ones.
REFERENCE = re.compile(r"([0-9]{1,18}):([0-9]{1,9})")


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRef:
    """Attempt reference: which row a message settles, and at which attempt. As text it is `row_id:attempt`."""

    row_id: int

    attempt: int

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self | None:
        """Return the attempt reference in a message's options; None if there is none: the message is foreign."""
        text = options.get(OPTION)
        found = REFERENCE.fullmatch(text) if isinstance(text, str) else None
        return cls(row_id=int(found[1]), attempt=int(found[2])) if found else None

    def __str__(self) -> str:
        return f"{self.row_id}:{self.attempt}"


def read(body: bytes) -> tuple[Message[Any] | None, str]:
    """Return the decoded message and "", or None and what is wrong with the body."""
    try:
        message = Message.decode(body)
    except DecodeError as error:
        return None, describe(error)
    problem = next(_problems(message), "")
    return (None, problem) if problem else (message, "")


def _problems(message: Message[Any]) -> Iterator[str]:
    for name, kind in FIELD_TYPES.items():
        if not isinstance(getattr(message, name), kind):
            yield f"{name} has a value of the wrong type"
            return
    for name, longest in MAX_LENGTHS.items():
        if len(getattr(message, name)) > longest:
            yield f"{name} is longer than {longest} characters"
    if not message.message_id.isprintable():  # PostgreSQL compares no NUL, no database a lone surrogate
        yield "message_id is no printable text"
    if type(message.message_timestamp) is not int or not 0 <= message.message_timestamp < 1 << 53:
        yield "message_timestamp has a value of the wrong type"
    options = message.options
    if not all(isinstance(options.get(name), NUMBER) for name in NUMBERS) or options.get("throws") is not None:
        yield f"the options {', '.join(NUMBERS)} are numbers, and throws is none"


def describe(error: DecodeError) -> str:
    """Return why a body is no message."""
    cause: BaseException = error
    while isinstance(cause, DecodeError):
        cause = cause.error
    text = f"{type(cause).__name__}: {cause}"
    return f"it lacks the fields of a message: {text}" if isinstance(cause, LookupError | TypeError) else text
