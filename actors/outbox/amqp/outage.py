"""Recognises an unreachable RabbitMQ by its errors; the outages of RabbitMQ and of its queues in this process."""

import logging
import re
from collections.abc import Callable
from functools import cache

from pika.adapters.utils.connection_workflow import AMQPConnectorException, AMQPConnectorStackTimeout
from pika.exceptions import (
    AMQPError,
    AMQPHeartbeatTimeout,
    ChannelClosed,
    ChannelClosedByBroker,
    ConnectionClosed,
    ConnectionClosedByBroker,
    ConnectionOpenAborted,
    ConnectionWrongStateError,
    StreamLostError,
)

from actors.outbox.outage import Outage

# For a server that stays silent during the handshake and for a name that does not resolve, pika raises no AMQPError.
CANNOT_CONNECT = (AMQPError, AMQPConnectorException, OSError)
# Which of them a part of the process meets depends on what it waits for.
SILENCE = (TimeoutError, AMQPConnectorStackTimeout, AMQPHeartbeatTimeout, ConnectionOpenAborted)
INTERNAL_ERROR = 541
LOSS = (StreamLostError, ConnectionResetError, BrokenPipeError, ConnectionWrongStateError)

rabbitmq_outage = Outage("rabbitmq")


def log_outages_once(describe_backlog: Callable[[], str]) -> None:
    """Silence pika, unless the project's logging configures it: it logs each attempt to connect, several times.

    Args:
        describe_backlog: returns, in log fields, what waits in the outbox when an outage ends.
    """
    rabbitmq_outage.describe_backlog = describe_backlog
    pika = logging.getLogger("pika")
    if pika.level == logging.NOTSET:
        pika.setLevel(logging.CRITICAL)


@cache
def outage_of_queue(queue: str) -> Outage:
    """Return the outages of one queue: RabbitMQ answers, and refuses what a part of this process asks of the queue."""
    return Outage(f"queue {queue}")


def report(part: str, error: BaseException, *, place: str = "") -> None:
    """Record that a part of this process cannot connect to RabbitMQ, or has lost its connection.

    Args:
        part: as for `Outage.fail`.
        error: of `CANNOT_CONNECT`.
        place: the address, in log fields, if it is known.
    """
    rabbitmq_outage.fail(part, f"{place and f'{place} '}reason={explain(error)!r}", kind=kind_of(error))


def kind_of(error: BaseException) -> str | None:
    """Return what distinguishes reasons of an outage; None for a lost connection, which has none of its own."""
    cause = _cause(error)
    text = explain(cause)
    # One that is lost during the handshake, as behind a proxy, pika takes for a server that speaks another protocol.
    if isinstance(cause, LOSS) or text.startswith(StreamLostError.__name__):
        return None
    # RabbitMQ's own texts are a code, a name and, after the dash, particulars.
    return "silent" if isinstance(cause, SILENCE) else text.partition(" - ")[0]


def refusal_of(error: BaseException) -> str:
    """Return RabbitMQ's words if it answers, and refuses what was asked; otherwise nothing.

    It refuses over a channel, which it closes; with an internal error it closes the connection.
    """
    is_internal = isinstance(error, ConnectionClosedByBroker) and error.reply_code == INTERNAL_ERROR
    return str(getattr(error, "reply_text", "")) if is_internal or isinstance(error, ChannelClosedByBroker) else ""


def explain(error: BaseException) -> str:
    """Return the cause of a failed connection as one line; pika wraps it in other exceptions."""
    cause = _cause(error)
    if isinstance(cause, ConnectionClosed | ChannelClosed):
        return f"{cause.reply_code} {cause.reply_text}"
    if isinstance(cause, ConnectionOpenAborted):
        return "no answer in time"
    # pika guesses a cause from the moment of the close, and keeps RabbitMQ's reply only as text.
    said = re.search(r"ConnectionClosedByBroker: \((\d+)\) (['\"])(.*?)\2", str(cause))
    return f"{said[1]} {said[3]}" if said else " ".join(str(cause).split()) or type(cause).__name__


def _cause(error: BaseException) -> BaseException:
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args[:1]]
    causes = [each for each in inner if isinstance(each, BaseException)]
    return _cause(causes[-1]) if causes else error
