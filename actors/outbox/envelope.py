"""The message as published to RabbitMQ: as its row has it, plus its attempt reference; readable in the management UI.

A row has its message as it was sent; after a failure, with `RETRY_OPTIONS`, as if Dramatiq had enqueued it again.

Guarantee: a message that came back from RabbitMQ equals its row (`differences` names no field) if and only if a worker
would run for it exactly what was sent. Access to RabbitMQ is no access to the database: nothing else is run.
"""

from typing import Any

import pika
from dramatiq import Message, MessageProxy, get_encoder
from dramatiq.common import current_millis
from dramatiq.errors import DecodeError

from actors.outbox.amqp.publisher import Outgoing
from actors.outbox.conf import conf
from actors.outbox.decoding import INSTALLATION, OPTION, AttemptRef
from actors.outbox.installation import installation_id
from actors.outbox.models import OutboxMessage

PERSISTENT = 2
# What a message has beside what was sent: the reference, and not a due time.
OWN_OPTIONS = (OPTION, "eta")
# What Dramatiq's Retries adds to the options of a message that has failed.
RETRY_OPTIONS = ("retries", "traceback", "requeue_timestamp")


def to_amqp(row: OutboxMessage) -> Outgoing:
    """Return the AMQP message of a row, with its attempt reference as an option and, with the installation, as headers.

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
        headers={
            "subject": row.subject,
            "request_id": row.request_id,
            OPTION: ref,
            INSTALLATION: installation_id(),
        },
    )
    return Outgoing(key=row.pk, queue=row.queue, body=get_encoder().encode(message), properties=properties)


def retry_options(retries: int, traceback: str) -> dict[str, Any]:
    """Return the `RETRY_OPTIONS` of a message that has just failed.

    Args:
        retries: how often it has been retried since it was sent or last replayed, counting the retry that follows.
        traceback: of its failure.
    """
    return dict(zip(RETRY_OPTIONS, (retries, traceback, current_millis()), strict=True))


def differences(message: Message[Any] | MessageProxy, *, body: bytes, queue: str) -> list[str]:
    """Return the names of the fields in which a message from RabbitMQ differs from its row; of most, none.

    Args:
        message: the message, with the name of the queue that brought it.
        body: the row's body. What it lacks, as those of early releases may, is not compared.
        queue: the row's queue.
    """
    encode = get_encoder().encode
    options = {name: value for name, value in message.options.items() if name not in OWN_OPTIONS}
    fields = {**message.asdict(), "options": options}
    try:
        if message.queue_name == queue and encode(fields) == body:
            return []
        # Encoded otherwise, or another: edited by an operator, sent by an early release, or forged.
        sent = get_encoder().decode(body) | {"queue_name": queue}
        sent["options"] = {name: value for name, value in sent["options"].items() if name not in OWN_OPTIONS}
        # By their encoded values: to Python 1 equals True.
        return [name for name in sent if encode({name: sent[name]}) != encode({name: fields.get(name)})]
    except (AttributeError, DecodeError, LookupError, RecursionError, TypeError, ValueError) as error:
        return [type(error).__name__]
