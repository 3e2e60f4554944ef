"""All that the outbox uses of pika beyond its documented interface. Written against pika 1.4.4.

- `_adapter_emit_data` receives all that a connection writes, and `_get_write_buffer_size` returns how much of it
  the socket has not taken yet: `CorkedConnection` writes many frames at once.
- `_terminate_stream` ends a connection in any state without the close handshake: `CorkedConnection.abort` and
  `TimeLimitedConnection`.
- `_has_pending_callbacks` is called for each received method: `ConsumingConnection` skips its search for deliveries.
- A blocking connection waits in `_flush_output` only, its `_impl` is a `SelectConnection` of the class `_impl_class`,
  made by `_create_connection`, and the `_impl` of its channels writes nothing at once: `TimeLimitedConnection`,
  `AnyAddressConnection`, `open_consuming`, `unflushed`.

`tests/unit/outbox/amqp/test_pika_internals.py` fails when one of these changes, and names the code to review.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pika
from pika.exceptions import AMQPError

from actors.outbox.amqp.outage import CANNOT_CONNECT

TIMEOUT_SECONDS = 3.0
GRACE_SECONDS = 0.5


class CorkedConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """pika's connection, extended by batched writes and by an end without AMQP's close handshake.

    pika alone sends each of the three frames of a message as one packet.
    """

    _held: list[bytes] | None = None
    _is_aborted = False

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Write everything that is sent inside the block at once."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self._adapter_emit_data(b"".join(held))

    @property
    def unwritten_bytes(self) -> int:
        """Bytes in pika's buffer that the socket has not taken yet."""
        return int(self._get_write_buffer_size())

    def abort(self, error: Exception) -> None:
        """End the connection in any state, without waiting for RabbitMQ; the close callbacks receive `error`."""
        if not self._is_aborted and not self.is_closed:
            self._is_aborted = True
            self._terminate_stream(error)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)
        else:
            self._held.append(data)


class ConsumingConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """pika's connection without its search for callbacks that wait for a delivery: deliveries go to the channel alone.

    The search builds its names anew each time, and takes a third of the time in which pika receives a message.
    """

    def _has_pending_callbacks(self, value: Any) -> Any:
        return None if isinstance(value.method, pika.spec.Basic.Deliver) else super()._has_pending_callbacks(value)


class AnyAddressConnection(pika.BlockingConnection):  # type: ignore[misc]  # pika has no types
    """A blocking connection to the first address that answers.

    pika's own gives up at a name that does not resolve, without trying the addresses after it.
    """

    def _create_connection(self, configs: Sequence[Any], impl_class: Any) -> Any:
        for each in configs[:-1]:
            with suppress(*CANNOT_CONNECT):
                return super()._create_connection(each, impl_class)
        return super()._create_connection(configs[-1], impl_class)


def open_consuming(addresses: Sequence[Any]) -> pika.BlockingConnection:
    """Open a blocking connection over a `ConsumingConnection`, to the first address that answers."""
    return AnyAddressConnection(addresses, _impl_class=ConsumingConnection)


def unflushed(channel: Any) -> Any:
    """Return the channel inside a blocking one: frames sent over it are written at the thread's next wait."""
    return channel._impl


class TimeLimitedConnection(AnyAddressConnection):
    """A blocking connection with a time limit for every wait; pika's own has none.

    Guarantee: every wait ends within `timeout_seconds` (to connect: at each address), and within `GRACE_SECONDS` after
    another thread has called `abort_soon()`: then the connection is terminated. Used for upkeep and `manage.py outbox
    repair`; the relay's connection is `connection`.
    """

    def __init__(self, addresses: Sequence[Any], *, heartbeat_seconds: int) -> None:
        """Connect, in one attempt at each address.

        Args:
            addresses: pika's connection parameters; their timeouts and number of attempts are overwritten.
            heartbeat_seconds: the heartbeat interval to ask RabbitMQ for.

        Raises:
            AMQPError, AMQPConnectorException, OSError: RabbitMQ cannot be reached.
        """
        self.timeout_seconds = TIMEOUT_SECONDS
        for each in addresses:
            each.connection_attempts = 1
            each.socket_timeout = each.stack_timeout = TIMEOUT_SECONDS
            each.blocked_connection_timeout = TIMEOUT_SECONDS
            each.heartbeat = heartbeat_seconds
        super().__init__(addresses)

    def abort_soon(self) -> None:
        """Terminate the connection, and with it any wait, after `GRACE_SECONDS` unless it is closed by then.

        Safe to call from any thread.
        """
        self._impl.ioloop.add_callback_threadsafe(partial(self._terminate_after, GRACE_SECONDS))

    def close_quickly(self) -> None:
        """Close the connection: with AMQP's close handshake if RabbitMQ answers within `GRACE_SECONDS`."""
        self.timeout_seconds = GRACE_SECONDS
        with suppress(AMQPError, OSError):
            self.close()

    def _flush_output(self, *waiters: Callable[[], bool]) -> None:
        timer = self._terminate_after(self.timeout_seconds) if self.is_open else None
        try:
            super()._flush_output(*waiters)
        finally:
            if self.is_open:
                self._impl._adapter_remove_timeout(timer)

    def _terminate_after(self, seconds: float) -> Any:
        return self._impl._adapter_call_later(seconds, self._terminate)

    def _terminate(self) -> None:
        if not self._impl.is_closed:
            self._impl._terminate_stream(TimeoutError("no answer in time"))
