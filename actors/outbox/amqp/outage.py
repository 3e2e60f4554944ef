"""Recognises an unreachable RabbitMQ by its errors, and logs an outage when it begins, changes and ends."""

import logging
import re
from collections.abc import Callable

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ConnectionOpenAborted

logger = logging.getLogger(__name__)

# For a server that stays silent during the handshake and for a name that does not resolve, pika raises no AMQPError.
CANNOT_CONNECT = (AMQPError, AMQPConnectorException, OSError)


class Outage:
    """Logs an outage, not every attempt to reconnect."""

    def __init__(self, place: str = "", *, clock: Callable[[], float]) -> None:
        self.place = place
        """Logged with each line: the address, or what the connection is for."""
        self._clock = clock
        self._since = 0.0
        self._kinds: set[type[BaseException]] = set()

    def begin(self, error: BaseException) -> None:
        """Log that the connection is lost or cannot be made, unless that was logged for this kind of error."""
        if not self._kinds:
            self._since = self._clock()
            logger.error("rabbitmq away %s reason=%r", self.place, explain(error))
        elif type(error) not in self._kinds:  # those of several addresses take turns
            logger.warning("rabbitmq still away %s reason=%r", self.place, explain(error))
        self._kinds.add(type(error))

    def hand_over(self) -> None:
        """Log that another process has taken over, if this one could not connect."""
        if self._kinds:
            logger.info("rabbitmq seen to by another process %s", self.place)
        self._kinds.clear()

    def end(self) -> None:
        """Log that RabbitMQ can be reached again, if it could not before."""
        if self._kinds:
            logger.info("rabbitmq back %s after_seconds=%.1f", self.place, self._clock() - self._since)
        self._kinds.clear()


def explain(error: BaseException) -> str:
    """Return the cause of a failed connection as one line; pika wraps it in other exceptions."""
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args[:1]]
    causes = [each for each in inner if isinstance(each, BaseException)]
    if causes:
        return explain(causes[-1])
    if isinstance(error, ConnectionOpenAborted):
        return "no answer in time"
    # pika guesses a cause from the moment of the close, and keeps RabbitMQ's reply only as text.
    said = re.search(r"ConnectionClosedByBroker: \((\d+)\) (['\"])(.*?)\2", str(error))
    return f"{said[1]} {said[3]}" if said else " ".join(str(error).split()) or type(error).__name__
