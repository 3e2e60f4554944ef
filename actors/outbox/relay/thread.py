"""The relay's thread and, beside it, that of `upkeep`: in every web and worker process, so that no third is needed.

Guarantee: somebody always sweeps. The relay's thread is woken by commits, sweeps on a timer, outlives outages of the
database and of RabbitMQ, and starts again after a fork.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable

import dramatiq
from django.db import InterfaceError, OperationalError, connection
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from actors.outbox.amqp.client_names import process_name
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.conf import threads_are_wanted
from actors.outbox.maintenance.upkeep import UpkeepThread, make_upkeep_thread
from actors.outbox.relay.relay import Relay, ready_rows
from actors.outbox.store import let_commits_be_late

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
STOP_SECONDS = 5.0

# A relay shares its process, and PostgreSQL, with what it works for, and most of what it costs is a batch's, not a
# message's. So it rests after each for as long as it carried messages: from some 150 a second on, batches grow until
# the rest is at its longest; those that come now and then are carried at once.
REST_SECONDS_A_MESSAGE = 0.006
LONGEST_REST_SECONDS = 0.03


class RelayThread(threading.Thread):
    """Steps a relay whenever there may be something to carry."""

    def __init__(self, make_publisher: Callable[[], Publisher]) -> None:
        super().__init__(name="outbox-relay", daemon=True)
        self._make_publisher = make_publisher
        self._stopping = threading.Event()
        # Only on a connection of this thread's own.
        self._lets_commits_be_late = False
        self._begin()

    def run(self) -> None:
        self._lets_commits_be_late = True
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
            if self._lets_commits_be_late:
                let_commits_be_late()
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
    return min(messages * REST_SECONDS_A_MESSAGE, LONGEST_REST_SECONDS)


def make_publisher() -> Publisher:
    """Return a publisher to the broker's RabbitMQ, named after this process."""
    broker = dramatiq.get_broker()
    assert isinstance(broker, RabbitmqBroker)
    return Publisher(parameters=broker.parameters, client_name=process_name("relay"))


class ProcessRelay:
    """The relay of this process, of which there is at most one, and its upkeep: two threads that live together."""

    _relay: RelayThread | None
    _upkeep: UpkeepThread | None

    def __init__(self) -> None:
        self.forget()

    def start(self) -> None:
        """Start the threads, if none run and they are wanted (`OUTBOX_RELAY_THREAD`)."""
        if not threads_are_wanted():
            return
        with self._lock:
            if self._relay is None or not self._relay.is_alive():
                self._relay = RelayThread(make_publisher)
                self._relay.start()
            if self._upkeep is None or not self._upkeep.is_alive():
                self._upkeep = make_upkeep_thread()
                self._upkeep.start()

    def wake(self) -> None:
        """Tell the relay, if there is one, that something was committed."""
        if self._relay is not None:
            self._relay.wake()

    def stop(self) -> None:
        """Stop the threads, if there are any."""
        with self._lock:
            threads = [thread for thread in (self._upkeep, self._relay) if thread is not None]
            for thread in threads:
                thread.request_stop()
            for thread in threads:
                thread.stop()
            self._relay = self._upkeep = None

    def forget(self) -> None:
        """Have no threads: after a fork they are the parent's, and so are their connections."""
        self._lock = threading.Lock()
        self._relay = self._upkeep = None


process_relay = ProcessRelay()
os.register_at_fork(after_in_child=process_relay.forget)
# A web process that ends says good-bye to RabbitMQ, and gives up at once what it leases.
atexit.register(process_relay.stop)
