"""The message as published to RabbitMQ: as it was sent, plus its attempt reference; readable in the management UI."""

from dataclasses import dataclass
from typing import Any, Self

import pika
from dramatiq import Message, get_encoder

from actors.outbox.amqp.publisher import Outgoing
from actors.outbox.conf import conf
from actors.outbox.models import OutboxMessage

PERSISTENT = 2
# The Dramatiq option that carries the attempt reference.
OPTION = "outbox"


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRef:
    """Attempt reference: which row a message settles, and at which attempt. As text it is `row_id:attempt`."""

    row_id: int

    attempt: int

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self | None:
        """Return the attempt reference in a message's options; None if there is none: the message is foreign."""
        try:
            row_id, attempt = map(int, options[OPTION].split(":"))
        except (KeyError, AttributeError, TypeError, ValueError):
            return None
        return cls(row_id=row_id, attempt=attempt)

    def __str__(self) -> str:
        return f"{self.row_id}:{self.attempt}"


def to_amqp(row: OutboxMessage) -> Outgoing:
    """Return the AMQP message of a row, with its attempt reference as an option and as a header.

    Raises:
        DecodeError: the body is not a Dramatiq message.
    """
    ref = str(AttemptRef(row_id=row.pk, attempt=row.attempt))
    message = Message.decode(bytes(row.body)).asdict()
    options = message["options"]
    options[OPTION] = ref
    # The message is due. A replayed foreign message may have this option, and a worker would then send it again.
    options.pop("eta", None)
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=PERSISTENT,
        message_id=row.message_id,
        type=row.actor,
        app_id=conf.OUTBOX_APPLICATION,
        timestamp=message["message_timestamp"] // 1000,
        headers={"subject": row.subject, "request_id": row.request_id, OPTION: ref},
    )
    return Outgoing(key=row.pk, queue=row.queue, body=get_encoder().encode(message), properties=properties)
