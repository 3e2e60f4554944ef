"""A blocking connection to RabbitMQ whose waits have a time limit; pika's own blocking connection waits without one.

Guarantee: every wait ends within `TIMEOUT_SECONDS`, and within `HURRY_SECONDS` after another thread has called
`hurry()`. Used by `maintenance.upkeep` and `manage.py outbox repair`; the relay's connection is `connection`.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pika
from pika.exceptions import AMQPError

TIMEOUT_SECONDS = 3.0
HURRY_SECONDS = 0.5


class TimeLimitedConnection(pika.BlockingConnection):  # type: ignore[misc]  # pika has no types
    """A blocking connection that is terminated if RabbitMQ does not answer in time."""

    patience_seconds = TIMEOUT_SECONDS

    def hurry(self) -> None:
        """Terminate the connection, and with it any wait, after `HURRY_SECONDS` unless it is closed by then.

        Safe to call from any thread.
        """
        self._impl.ioloop.add_callback_threadsafe(partial(self._give_up_after, HURRY_SECONDS, "no answer in time"))

    def close_quickly(self) -> None:
        """Close the connection: with AMQP's close handshake if RabbitMQ answers within `HURRY_SECONDS`."""
        self.patience_seconds = HURRY_SECONDS
        with suppress(AMQPError, OSError):
            self.close()

    def _flush_output(self, *waiters: Callable[[], bool]) -> None:
        timer = self._give_up_after(self.patience_seconds, "no answer in time") if self.is_open else None
        try:
            super()._flush_output(*waiters)
        finally:
            if self.is_open:
                self._impl._adapter_remove_timeout(timer)

    def _give_up_after(self, seconds: float, reason: str) -> Any:
        return self._impl._adapter_call_later(seconds, partial(self._give_up, reason))

    def _give_up(self, reason: str) -> None:
        if not self._impl.is_closed:
            self._impl._terminate_stream(TimeoutError(reason))


def connect_with_time_limit(parameters: Any, *, heartbeat_seconds: int) -> TimeLimitedConnection:
    """Connect, in one attempt.

    Args:
        parameters: pika's connection parameters; their timeouts and number of attempts are overwritten.
        heartbeat_seconds: the heartbeat interval to ask RabbitMQ for.

    Raises:
        AMQPError, AMQPConnectorException, OSError: RabbitMQ cannot be reached.
    """
    parameters.connection_attempts = 1
    parameters.socket_timeout = parameters.stack_timeout = TIMEOUT_SECONDS
    parameters.blocked_connection_timeout = TIMEOUT_SECONDS
    parameters.heartbeat = heartbeat_seconds
    return TimeLimitedConnection(parameters)
