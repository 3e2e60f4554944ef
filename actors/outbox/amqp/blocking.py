"""A blocking connection to RabbitMQ that never blocks for long: pika's own waits for an answer for as long as it takes.

Guarantee: every wait ends within `TIMEOUT_SECONDS`, and within `HURRY_SECONDS` once another thread asks for haste.
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
    """A blocking connection that is given up where RabbitMQ does not answer."""

    patience_seconds = TIMEOUT_SECONDS

    def hurry(self) -> None:
        """Give the connection up soon, and with it any wait, unless it is closed before; safe from any thread."""
        self._impl.ioloop.add_callback_threadsafe(partial(self._give_up_after, HURRY_SECONDS, "no answer in time"))

    def close_quickly(self) -> None:
        """Close, politely if RabbitMQ answers at once."""
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

    Raises:
        AMQPError, AMQPConnectorException, OSError: RabbitMQ cannot be reached.
    """
    parameters.connection_attempts = 1
    parameters.socket_timeout = parameters.stack_timeout = TIMEOUT_SECONDS
    parameters.blocked_connection_timeout = TIMEOUT_SECONDS
    parameters.heartbeat = heartbeat_seconds
    return TimeLimitedConnection(parameters)
