"""The relay's thread, of which each web and worker process has one: it steps the relay whenever rows may be due.

Guarantee: the relay always sweeps. The thread is woken by commits (`wakeup`), sweeps on a timer, and outlives outages
of the database and of RabbitMQ. `background` starts and stops it; `manage.py relay` runs it in its main thread.
"""

import logging
import threading
import time
from collections.abc import Callable

import dramatiq
from django.db import InterfaceError, OperationalError, connection
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from actors.outbox.amqp.client_names import process_name
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.db.postgres import disable_synchronous_commit
from actors.outbox.relay.relay import Relay, ready_rows

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
STOP_SECONDS = 5.0

# A relay shares its process, and PostgreSQL, with what it works for, and most of what it costs is a batch's, not a
# message's. So it rests after each for as long as it carried messages: from some 150 a second on, batches grow until
# the rest is at its longest; those that come now and then are carried at once.
REST_SECONDS_A_MESSAGE = 0.006
MAX_REST_SECONDS = 0.03


class RelayThread(threading.Thread):
    """Steps a relay whenever there may be something to carry."""

    def __init__(self, make_publisher: Callable[[], Publisher]) -> None:
        super().__init__(name="outbox-relay", daemon=True)
        self._make_publisher = make_publisher
        self._stopping = threading.Event()
        # Only on a connection of this thread's own.
        self._disables_synchronous_commit = False
        self._begin()

    def run(self) -> None:
        self._disables_synchronous_commit = True
        try:
            while not self._stopping.is_set():
                self._sweep()
        finally:
            self.publisher.close()
            connection.close()

    def _begin(self) -> None:
        self.publisher = self._make_publisher()
        self.relay = Relay(publisher=self.publisher)

    def wake(self) -> None:
        """Tell it that there may be something to carry; from any thread."""
        self.publisher.wake()

    def request_stop(self) -> None:
        """Tell it to end; from any thread and from signal handlers."""
        self._stopping.set()
        self.publisher.stop()

    def stop(self) -> None:
        """Make the thread end, and wait for it."""
        self.request_stop()
        self.join(STOP_SECONDS)

    def drain(self, timeout_seconds: float) -> int:
        """Carry in the caller's own thread all that is due; return how many rows are left when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        try:
            while (left := ready_rows().count()) and time.monotonic() < deadline and not self._stopping.is_set():
                self._sweep()
            return left
        finally:
            self.publisher.close()

    def _sweep(self) -> None:
        """Sleep until there may be something to carry, and carry it."""
        try:
            self.publisher.run(SWEEP_SECONDS)
            if self._disables_synchronous_commit:
                disable_synchronous_commit()
            carried_before = self.relay.carried
            while not self._stopping.is_set() and self.relay.step():
                pass
            self.publisher.rest(rest_after(self.relay.carried - carried_before))
        except (OperationalError, InterfaceError) as error:
            logger.warning("relay: database unavailable: %s", error)
            connection.close()
        except Exception:  # whatever it is: nobody else would sweep
            logger.exception("relay: sweep failed, starting anew")
            self.publisher.close()
            self._begin()
            self._stopping.wait(SWEEP_SECONDS)


def rest_after(messages: int) -> float:
    """Return how many seconds to rest after so many messages."""
    return min(messages * REST_SECONDS_A_MESSAGE, MAX_REST_SECONDS)


def make_publisher() -> Publisher:
    """Return a publisher to the broker's RabbitMQ, named after this process."""
    broker = dramatiq.get_broker()
    assert isinstance(broker, RabbitmqBroker)
    return Publisher(parameters=broker.parameters, client_name=process_name("relay"))
