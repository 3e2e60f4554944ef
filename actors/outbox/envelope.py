"""What travels: the message as it was sent, and the ticket by which it is settled; legible in the management UI."""

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, Self

import pika
from dramatiq import Message, get_encoder

from actors.outbox.amqp.publisher import Outgoing
from actors.outbox.conf import application
from actors.outbox.models import OutboxMessage

PERSISTENT = 2
# The Dramatiq option that carries the ticket.
OPTION = "outbox"
FIELDS = {field.name for field in fields(Message)}


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRef:
    """Which row a message settles, and which attempt of it."""

    row_id: int

    attempt: int

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self | None:
        """Return the ticket among a message's options; None for a foreign message, which did not come from here."""
        try:
            row_id, attempt = map(int, options[OPTION].split(":"))
        except (KeyError, AttributeError, TypeError, ValueError):
            return None
        return cls(row_id=row_id, attempt=attempt)

    def __str__(self) -> str:
        return f"{self.row_id}:{self.attempt}"


def to_amqp(row: OutboxMessage) -> Outgoing:
    """Make the AMQP message of a row.

    Raises:
        DecodeError: the body is no message.
    """
    ref = str(AttemptRef(row_id=row.pk, attempt=row.attempt))
    message = _decoded(bytes(row.body))
    options = message["options"]
    options[OPTION] = ref
    # It is due: in a message that came from elsewhere and was replayed, this would have a worker send it once more.
    options.pop("eta", None)
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=PERSISTENT,
        message_id=row.message_id,
        type=row.actor,
        app_id=application(),
        timestamp=message["message_timestamp"] // 1000,
        headers={"subject": row.subject, "request_id": row.request_id, OPTION: ref},
    )
    return Outgoing(key=row.pk, queue=row.queue, body=get_encoder().encode(message), properties=properties)


def _decoded(body: bytes) -> dict[str, Any]:
    """Return the fields of a message. To make a `Message` of them and fields again takes a third of the whole time.

    Raises:
        DecodeError: it is no message.
    """
    with suppress(Exception):  # whatever it is, `Message` meets it again, and says that this is no message
        message = get_encoder().decode(body)
        if message.keys() == FIELDS and type(message["args"]) is list and type(message["options"]) is dict:
            return message
    return Message.decode(body).asdict()
