"""The relay's thread, by default one in each web and worker process: it calls `Relay.step` whenever rows may be due.

Guarantee: the relay never stops looking for due rows. Commits wake the thread (`wakeup`), the next due time that it has
seen does, and a timer every `SWEEP_SECONDS`; no outage of the database or of RabbitMQ and no error ends it.
`background` starts and stops it; `manage.py relay` runs it in its main thread.
"""

import logging
import threading
import time

import dramatiq
from django.db import connection
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from actors.outbox.amqp.client_names import process_name
from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.db.errors import is_operational
from actors.outbox.db.outage import database_outage, report
from actors.outbox.relay.relay import AHEAD_SECONDS, Relay, ready_rows

logger = logging.getLogger(__name__)

PART = "relay"
SWEEP_SECONDS = AHEAD_SECONDS
STOP_SECONDS = 5.0

# The relay shares its process, and PostgreSQL, with requests and actors, and most of its cost is per batch, not per
# message. So it rests after each sweep in proportion to the messages published: from some 150 a second on, batches grow
# until the rest is at its maximum; an occasional message is published at once.
REST_SECONDS_A_MESSAGE = 0.006
MAX_REST_SECONDS = 0.03


class RelayThread(threading.Thread):
    """Steps a relay whenever rows may be due."""

    def __init__(self) -> None:
        super().__init__(name="outbox-relay", daemon=True)
        self._stopping = threading.Event()
        self._begin()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._sweep()
        finally:
            self.publisher.close()
            connection.close()

    def _begin(self) -> None:
        self.publisher = make_publisher()
        self.relay = Relay(publisher=self.publisher)

    def wake(self, at: float) -> None:
        """Make the relay look for due rows at a time of the system's monotonic clock; safe from any thread."""
        self.publisher.wake(at)

    def request_stop(self) -> None:
        """Make the thread end soon; safe from any thread and from signal handlers."""
        self._stopping.set()
        self.publisher.stop()

    def stop(self) -> None:
        """Make the thread end, and wait up to `STOP_SECONDS` for it."""
        self.request_stop()
        self.join(STOP_SECONDS)

    def drain(self, timeout_seconds: float) -> int:
        """Publish all due rows, in the caller's own thread.

        Returns:
            How many due rows are left after `timeout_seconds` or a stop request; 0 if all were published.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            while (left := ready_rows().count()) and time.monotonic() < deadline and not self._stopping.is_set():
                self.relay.next_full_claim = 0.0  # what is left may have been due for long
                self._sweep()
            return left
        finally:
            self.publisher.close()

    def _sweep(self) -> None:
        """Wait until rows may be due, and publish them."""
        try:
            self.publisher.run(SWEEP_SECONDS)
            tried_before, asks_database = self.relay.tried, self.publisher.is_ready()
            while not self._stopping.is_set() and self.relay.step():
                pass
            (database_outage.recover if asks_database else database_outage.leave)(PART)
            self.publisher.rest(rest_after(self.relay.tried - tried_before))
            self.publisher.wake(self.relay.next_due)
        except Exception as error:  # of any kind: without this thread the process would have no relay
            # Also one that works: the server may be a standby by now.
            connection.close()
            self.relay.next_full_claim = 0.0  # the next server's clock may be ahead, and leases of lost claims remain
            if is_operational(error):
                report(PART, error)
                return
            logger.exception("relay: sweep failed, starting anew")
            self.publisher.close()
            self._begin()
            self._stopping.wait(SWEEP_SECONDS)


def rest_after(messages: int) -> float:
    """Return how many seconds to rest after a sweep that published this many messages."""
    return min(messages * REST_SECONDS_A_MESSAGE, MAX_REST_SECONDS)


def make_publisher() -> Publisher:
    """Return a publisher to the broker's RabbitMQ, whose connection is named after this process."""
    broker = dramatiq.get_broker()
    assert isinstance(broker, RabbitmqBroker)
    return Publisher(ReconnectingConnection(addresses=broker.parameters, client_name=process_name("relay")))
