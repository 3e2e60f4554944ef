"""The publisher's connection to RabbitMQ, which reconnects automatically. All I/O runs in the calling thread.

Guarantee: `turn()` returns by its deadline regardless of what RabbitMQ does, and a lost connection is opened again, one
attempt at a time, at each address in turn, with exponential backoff. Outages are those of the whole process: `outage`.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import ChannelClosedByBroker

from actors.outbox.amqp.client_names import with_connection_name
from actors.outbox.amqp.confirms import Confirms, fault_of_a_message
from actors.outbox.amqp.outage import rabbitmq_outage, refusal_of, report
from actors.outbox.amqp.pika_internals import CorkedConnection
from actors.outbox.amqp.topology import Declarations
from actors.outbox.backoff import jittered_backoff

logger = logging.getLogger(__name__)

PART = "relay"
CONNECT_TIMEOUT_SECONDS = 5.0
MIN_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 30.0
CLOSE_TIMEOUT_SECONDS = 0.5
NEVER = float("inf")


class ReconnectingConnection:
    """One connection with one channel in confirm mode, or being opened. Must not be used after a fork."""

    def __init__(
        self,
        *,
        addresses: Sequence[pika.connection.Parameters],
        client_name: str,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to connect; the first `turn()` connects.

        Args:
            addresses: host, credentials and heartbeat of each; their timeouts and retries are replaced.
            client_name: the connection's name in the management UI.
            connect_timeout_seconds: for TCP, TLS and AMQP together, for each address of the host.
            clock: monotonic seconds.
            jitter: random numbers from 0 to 1, for the pauses between attempts to connect.
        """
        self.confirms: Confirms | None = None
        """The channel's confirms; None until the channel is open and in confirm mode."""
        self.is_blocked = False
        """Whether RabbitMQ has stopped reading from this connection, being short of memory or disk."""
        self.declarations = Declarations(clock=clock)
        self.pika: CorkedConnection | None = None
        named = with_connection_name(addresses, client_name)
        for each in named:
            each.connection_attempts = 1
            each.socket_timeout = each.stack_timeout = connect_timeout_seconds
            # A blocked connection is kept: RabbitMQ notifies it when it reads again, and would not even notify a new
            # one that it is blocked.
            each.blocked_connection_timeout = None
        self._addresses, self._round = cycle(named), len(named)
        self._setup_seconds = connect_timeout_seconds
        self._clock, self._jitter = clock, jitter
        self._ioloop = IOLoop()
        self._ioloop.activate_poller()
        self._failures = 0
        self._not_before = -NEVER
        self._setup_since = self._open_since = NEVER
        self._was_useful = False
        self._place = ""
        self._frames_seen = 0
        self._must_confirm = False
        self._is_closing = False

    def turn(self, *, until: float) -> None:
        """Process pending I/O, waiting for it until the clock reads `until`; connect if that is due."""
        if self.pika is None and not self._is_closing and self._clock() >= self._not_before:
            self._connect()
        # pika has a timeout for opening a connection, but none for opening a channel.
        if self._clock() >= self._setup_deadline():
            self.abort("RabbitMQ did not open a channel in time")
        timer = self._ioloop.call_later(max(0.0, min(until, self._next_event()) - self._clock()), _do_nothing)
        self._ioloop.poll()
        self._ioloop.process_timeouts()
        self._ioloop.remove_timeout(timer)
        self._note_answer()

    def interrupt(self) -> None:
        """End the current or the next `turn()`; safe to call from any thread."""
        self._ioloop.add_callback_threadsafe(_do_nothing)

    def abort(self, reason: str) -> None:
        """Terminate the connection, because RabbitMQ does not answer."""
        self.confirms = None
        if self.pika is not None:
            self.pika.abort(TimeoutError(reason))

    def close(self) -> None:
        """Close the connection and release its resources; the close handshake may take `CLOSE_TIMEOUT_SECONDS`."""
        self._is_closing = True
        if self.pika is not None and self.confirms is not None:
            self.pika.close()
            self._turn_until_closed()
        self.abort("closed by us")
        self._turn_until_closed()
        self._ioloop.close()
        rabbitmq_outage.leave(PART)

    def _turn_until_closed(self) -> None:
        deadline = self._clock() + CLOSE_TIMEOUT_SECONDS
        while self.pika is not None and self._clock() < deadline:
            self.turn(until=deadline)

    def _next_event(self) -> float:
        if self.pika is None:
            return NEVER if self._is_closing else self._not_before
        return self._setup_deadline()

    def _setup_deadline(self) -> float:
        return self._setup_since + self._setup_seconds

    def _connect(self) -> None:
        self._was_useful = False
        self._open_since = NEVER
        parameters = next(self._addresses)
        self._place = f"host={parameters.host} port={parameters.port}"
        self._frames_seen = 0
        self.pika = CorkedConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
            custom_ioloop=self._ioloop,
        )

    def _on_open(self, connection: CorkedConnection) -> None:
        self._open_since = self._clock()
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._open_channel(connection)

    def _open_channel(self, connection: CorkedConnection) -> None:
        self._setup_since = self._clock()
        connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Any) -> None:
        confirms = Confirms(channel)
        channel.add_on_close_callback(partial(self._on_channel_closed, confirms))
        channel.add_on_return_callback(confirms.on_return)
        channel.confirm_delivery(confirms.on_confirm, callback=lambda _frame: self._on_confirm_mode(confirms))

    def _on_confirm_mode(self, confirms: Confirms) -> None:
        self._setup_since = NEVER
        self.confirms = confirms

    def _on_channel_closed(self, confirms: Confirms, channel: Any, error: Exception) -> None:
        self.confirms = None
        self._was_useful = self._was_useful or confirms.has_confirmed
        confirms.on_close(error)
        if fault_of_a_message(error) and isinstance(error, ChannelClosedByBroker):
            logger.warning("channel closed code=%d reason=%r", error.reply_code, error.reply_text)
            self._open_channel(channel.connection)
        elif isinstance(error, ChannelClosedByBroker):
            channel.connection.abort(error)

    def _on_closed(self, _connection: CorkedConnection, error: Exception) -> None:
        lasted = self._clock() - self._open_since > MAX_BACKOFF_SECONDS
        if self._was_useful or lasted or fault_of_a_message(error):
            self._failures = 0
        self._failures += 1
        # A round of attempts, one at each address, pauses as long as repeated attempts at a single address.
        self._not_before = self._clock() + jittered_backoff(
            (self._failures - 1) // self._round,
            minimum=MIN_BACKOFF_SECONDS,
            maximum=MAX_BACKOFF_SECONDS / self._round,
            jitter=self._jitter,
        )
        self._setup_since = NEVER
        # Otherwise it would end an outage at each attempt, and begin it with each message.
        self._must_confirm = self._must_confirm or bool(refusal_of(error))
        self.pika = self.confirms = None
        self.is_blocked = False
        self.declarations.forget_all()
        if not self._is_closing:
            report(PART, error, place=self._place)

    def _note_answer(self) -> None:
        """End this part's outage if RabbitMQ has sent anything, and nothing is known to keep it from publishing.

        Also while the connection was never lost: the end of an outage that other parts began needs a proof.
        """
        if self.pika is None or self.confirms is None or self.is_blocked:
            return
        self._must_confirm = self._must_confirm and not self.confirms.has_confirmed
        if self.pika.frames_received != self._frames_seen and not self._must_confirm:
            self._frames_seen = self.pika.frames_received
            rabbitmq_outage.recover(PART)

    def _on_blocked(self, _connection: CorkedConnection, frame: Any) -> None:
        self.is_blocked = True
        reason = f"it accepts no messages: {frame.method.reason}"
        rabbitmq_outage.fail(PART, f"{self._place} reason={reason!r}", kind="blocked")

    def _on_unblocked(self, _connection: CorkedConnection, _frame: Any) -> None:
        self.is_blocked = False


def _do_nothing() -> None:
    pass
