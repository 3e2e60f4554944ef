"""Logs in to RabbitMQ as relay and workers will, to say in one line what is refused and what to do about it.

Guarantee: it ends within some seconds for each address, puts no message into a queue and takes none out.
"""

import uuid
from collections.abc import Collection, Sequence
from ssl import SSLError
from typing import Any

from pika.connection import Parameters
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from actors.outbox.amqp.client_names import process_name, with_connection_name
from actors.outbox.amqp.outage import CANNOT_CONNECT, explain
from actors.outbox.amqp.pika_internals import TIMEOUT_SECONDS, TimeLimitedConnection
from actors.outbox.amqp.topology import ACCESS_REFUSED, declare, explain_refusal, name_in_rabbitmq
from actors.outbox.exceptions import AccessRefused

RIGHTS = "(rabbitmqctl set_permissions: configure, write, read)"


def log_in(addresses: Sequence[Parameters], queues: Collection[str]) -> None:
    """Connect to one of `addresses`, and try what relay and workers need: declare `queues`, publish and consume.

    Raises:
        AccessRefused: RabbitMQ refuses, or no address answers.
    """
    refusals = []
    for address in with_connection_name(addresses, process_name("login")):
        try:
            _log_in(address, queues)
        except AccessRefused as refusal:
            refusals.append(refusal)
        else:
            return
    final = next((each for each in refusals if each.is_final), None)
    raise final or AccessRefused(" ".join(map(str, refusals)))


def _log_in(address: Any, queues: Collection[str]) -> None:
    place, user = f"{address.host}:{address.port}", address.credentials.username
    try:
        connection = TimeLimitedConnection([address], heartbeat_seconds=address.heartbeat)
        # A blocked connection ends after TIMEOUT_SECONDS, with an error of its own.
        connection.timeout_seconds = 2 * TIMEOUT_SECONDS
        try:
            for queue in queues:
                _use(connection, queue, place=place, user=user)
        finally:
            connection.close_quickly()
    except ProbableAuthenticationError as error:
        text = f"RabbitMQ at {place} refuses the user {user} with this password: correct RABBITMQ_URL."
        raise AccessRefused(text, is_final=True) from error
    except ProbableAccessDeniedError as error:
        text = f"RabbitMQ at {place} refuses the vhost: {explain(error)}. Correct RABBITMQ_URL, or make the vhost and"
        raise AccessRefused(f"{text} give {user} rights to it {RIGHTS}.", is_final=True) from error
    except (IncompatibleProtocolError, SSLError) as error:
        raise AccessRefused(_no_rabbitmq(place)) from error
    except ConnectionBlockedTimeout as error:
        text = (
            f"RabbitMQ at {place} takes no messages now, for lack of memory or disk space: free some, or give it more."
        )
        raise AccessRefused(text) from error
    except CANNOT_CONNECT as error:
        if "AMQP handshake" in str(error):  # the time is over after a connection was accepted
            raise AccessRefused(_no_rabbitmq(place)) from error
        raise AccessRefused(
            f"Nothing answers at {place}, where RABBITMQ_URL points ({explain(error)}): "
            "start that RabbitMQ, or correct RABBITMQ_URL."
        ) from error


def _use(connection: TimeLimitedConnection, queue: str, *, place: str, user: str) -> None:
    try:
        declare(connection, queue)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", f"no queue {uuid.uuid4()}", b"")  # RabbitMQ drops it, if the user may publish
        name = name_in_rabbitmq(queue)
        if channel.queue_declare(name, passive=True).method.message_count == 0:
            channel.basic_get(name)  # a message that arrives meanwhile is returned with the connection's end
    except ChannelClosedByBroker as error:
        if error.reply_code == ACCESS_REFUSED:
            text = f"RabbitMQ at {place}: {error.reply_text}. Give {user} all rights in the vhost {RIGHTS}."
        else:
            text = f"RabbitMQ at {place} refuses {explain_refusal(queue, error.reply_text)}."
        raise AccessRefused(text, is_final=True) from error


def _no_rabbitmq(place: str) -> str:
    return (
        f"What answers at {place}, where RABBITMQ_URL points, does not answer as RabbitMQ does: correct host, port and "
        "scheme in RABBITMQ_URL (amqps:// is encrypted), or wait until that RabbitMQ is ready."
    )
