"""Reads the body of a dead letter: checks whether a worker could run it, and formats it. No value is trusted.

Used by `collector`, to find out why a message is dead; by `decisions`, to replay it as it is or edited; by the admin
and `manage.py deadletters`, to display it.
"""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import dramatiq
from dramatiq import Message
from dramatiq.common import current_millis, q_name
from dramatiq.message import generate_unique_id
from dramatiq.middleware import AgeLimit

from actors.outbox.decoding import MAX_NAME_LENGTH, read
from actors.outbox.discovery import import_actors
from actors.outbox.exceptions import OutboxError
from actors.outbox.models import OutboxMessage, clean

# How many bytes of a body that is not JSON are shown.
MAX_DUMP_BYTES = 4_096


class UnfitMessage(OutboxError):
    """Raised when no worker could run a message as it is: undecodable, of no known actor, of a queue not consumed."""


def require_fit(body: bytes) -> Message[Any]:
    """Return the decoded message, if a worker could run it.

    Raises:
        UnfitMessage: no worker could run it; the error says why.
    """
    message, problem = read(body)
    if message is None:
        raise UnfitMessage(f"it is no message: {plain(problem, MAX_NAME_LENGTH * 10)}")
    if not is_known(message.actor_name):
        raise UnfitMessage(f"there is no actor {plain(message.actor_name, MAX_NAME_LENGTH)!r}")
    if not (message.message_id.isascii() and message.message_id.isprintable() and message.message_id.strip()):
        raise UnfitMessage("its message_id is no printable ASCII text")
    _require_arguments(message)
    return message


def parse(text: str) -> Any:
    """Return the value of a JSON text. What Python accepts beyond the standard, such as NaN, is refused.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def fields_of(row: OutboxMessage) -> dict[str, Any]:
    """Return the fields of a row's message; if it is undecodable, those that the row has."""
    message, _ = read(bytes(row.body))
    if message is None:
        message = Message(
            queue_name=row.queue,
            actor_name=row.actor,
            args=(),
            kwargs={},
            options={},
            message_id=row.message_id or generate_unique_id(),
        )
    return message.asdict()


def edit(row: OutboxMessage, changes: Any) -> bytes:
    """Return a row's message with some of its fields replaced, encoded and fit to be replayed.

    Args:
        row: the dead letter.
        changes: the new fields, an operator's JSON; anything but an object of a message's fields is refused.

    Raises:
        UnfitMessage: no worker could run the changed message.
    """
    fields = fields_of(row)
    if not isinstance(changes, dict) or not changes.keys() <= fields.keys():
        raise UnfitMessage(f"a message is a JSON object of {', '.join(sorted(fields))}")
    fields |= changes
    if not isinstance(fields["args"], list | tuple):
        raise UnfitMessage("args is a list")
    body = Message(**fields).encode()
    message = require_fit(body)
    require_queue(q_name(message.queue_name))
    return body


def legible(body: bytes) -> str:
    """Return a body in readable form: indented JSON, or a hex dump if it is not JSON."""
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "\n".join(_dump(body))
    return text.encode("utf-8", "backslashreplace").decode()


def is_known(actor: str) -> bool:
    broker = dramatiq.get_broker()
    if actor not in broker.actors:
        import_actors()
    return actor in broker.actors


def require_queue(queue: str) -> None:
    broker = dramatiq.get_broker()
    if queue not in broker.get_declared_queues():
        import_actors()
    if queue not in broker.get_declared_queues():
        raise UnfitMessage(f"no worker consumes the queue {plain(queue, MAX_NAME_LENGTH)!r}")


def is_too_old(message: Message[Any]) -> bool:
    broker = dramatiq.get_broker()
    usual = next((one.max_age for one in broker.middleware if isinstance(one, AgeLimit)), None)
    actor = broker.actors.get(message.actor_name)
    max_age = message.options.get("max_age") or (actor.options.get("max_age", usual) if actor else usual)
    return isinstance(max_age, int | float) and 0 < max_age <= current_millis() - message.message_timestamp


def plain(value: object, longest: int | None = None) -> str:
    """Return an untrusted value as text that every database stores; "" if it is not text."""
    if not isinstance(value, str):
        return ""
    return clean(value.encode("utf-8", "backslashreplace").decode())[:longest]


def _require_arguments(message: Message[Any]) -> None:
    actor = dramatiq.get_broker().actors[message.actor_name]
    try:
        inspect.signature(actor.fn).bind(*message.args, **message.kwargs)
    except TypeError as error:
        raise UnfitMessage(f"{message.actor_name} does not take these arguments: {error}") from error


def _dump(body: bytes) -> Iterator[str]:
    for start in range(0, min(len(body), MAX_DUMP_BYTES), 16):
        line = body[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<47}  {letters}"
    if len(body) > MAX_DUMP_BYTES:
        yield f"… {len(body) - MAX_DUMP_BYTES} bytes more"
