"""Upkeep: repairs lost messages (`lost_messages`), collects dead letters (`collector`), warns of a held horizon.

Guarantee: upkeep goes on as long as any process with this thread runs. One process at a time leads for a queue
(`leadership`), and only leaders have a connection to RabbitMQ for it. Outages are survived; every wait for RabbitMQ has
a time limit (`TimeLimitedConnection`), and no transaction is open during it. `UpkeepThread` calls `Upkeep.step` on a
timer; `background` and `manage.py relay` start the thread.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property, partial
from uuid import uuid4

import dramatiq
from django.db import connection
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.exceptions import ChannelClosedByBroker

from actors.outbox.amqp.client_names import process_name, with_connection_name
from actors.outbox.amqp.outage import CANNOT_CONNECT, outage_of_queue, rabbitmq_outage, report
from actors.outbox.amqp.pika_internals import TimeLimitedConnection
from actors.outbox.amqp.topology import NOT_FOUND, SHARED_HINT, count_ready, declare, explain_refusal
from actors.outbox.conf import conf
from actors.outbox.db import outage as db_outage
from actors.outbox.db.errors import is_operational
from actors.outbox.dead_letters.collector import OthersLetter, collect
from actors.outbox.maintenance import lost_messages
from actors.outbox.maintenance.leadership import acquire_leadership, queues_to_watch, resign
from actors.outbox.operations.horizon import HorizonLog
from actors.outbox.worker.limits import repair_after_seconds

logger = logging.getLogger(__name__)

PART = "upkeep"
MAX_DEAD_LETTERS = 1_000
# After this time a killed leader is replaced; a live one renews its lease at each step.
LEASE_SECONDS = 30.0
STOP_SECONDS = 1.0
MIN_HEARTBEAT_SECONDS = 15

Connect = Callable[[], TimeLimitedConnection]


class Upkeep:
    """The upkeep of one process, with its state from one step to the next: its leases' token and its connection."""

    def __init__(
        self, *, connect: Connect, lease_seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._collects_at: dict[str, float] = {}
        self.token = uuid4()
        self.connection: TimeLimitedConnection | None = None
        self._connect = connect
        self._lease_seconds = lease_seconds
        self._horizon_log = HorizonLog()

    def step(self) -> bool:
        """Do the upkeep of each queue that this process leads; return whether there was one.

        Raises:
            AMQPError, AMQPConnectorException, OSError: RabbitMQ cannot be reached.
            OperationalError, InterfaceError: the database cannot be reached.
        """
        leads = False
        queues = queues_to_watch()
        for queue in queues:
            if acquire_leadership(queue, token=self.token, seconds=self._lease_seconds):
                leads = True
                if queue == queues[0]:  # of the leaders, one looks; first, because RabbitMQ may be away
                    self._horizon_log.update()
                self._look_after(queue)
            else:
                outage_of_queue(queue).leave(PART)
        if not leads:
            self.disconnect()
        return leads

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close_quickly()

    def end(self) -> None:
        """Close the connection and give up leadership, so other processes can take over at once."""
        self.disconnect()
        resign(self.token)

    def _look_after(self, queue: str) -> None:
        if self.connection is None or not self.connection.is_open:
            self.connection = self._connect()
        outage = outage_of_queue(queue)
        try:
            look = partial(count_ready, self.connection)
            lost_messages.step(queue, token=self.token, look=look, margin_seconds=self._margin_seconds)
            if self._clock() >= self._collects_at.get(queue, 0.0):
                collect_dead_letters(self.connection, queue)
                outage.recover(PART)
        except ChannelClosedByBroker as error:
            outage.fail(PART, explain_refusal(queue, error.reply_text), kind=error.reply_text)
        except OthersLetter as met:
            # Given back, it counts as delivered once more: not at each step.
            self._collects_at[queue] = self._clock() + conf.OUTBOX_PROBE_SECONDS
            outage.fail(PART, f"{met} {SHARED_HINT}", kind=SHARED_HINT)

    @cached_property
    def _margin_seconds(self) -> float:
        return repair_after_seconds(dramatiq.get_broker())


def collect_dead_letters(rabbitmq: TimeLimitedConnection, queue: str) -> None:
    """Collect a queue's dead letters into rows; a missing dead-letter queue is declared again.

    Args:
        rabbitmq: the connection.
        queue: the queue that workers consume.

    Raises:
        OthersLetter: the next dead letter is another installation's.
        ChannelClosedByBroker: RabbitMQ refuses the queue.
    """
    try:
        with rabbitmq.channel() as channel:
            collect(channel, queue, at_most=MAX_DEAD_LETTERS)
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
        declare(rabbitmq, queue)


class UpkeepThread(threading.Thread):
    """Steps an upkeep on a timer."""

    def __init__(self, connect: Connect, *, period_seconds: float) -> None:
        super().__init__(name="outbox-upkeep", daemon=True)
        self.upkeep = Upkeep(connect=connect, lease_seconds=max(LEASE_SECONDS, 3 * period_seconds))
        self._period_seconds = period_seconds
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(self._period_seconds):
            self.step()
        self._survive(self.upkeep.end)
        connection.close()

    def step(self) -> None:
        """Do one step of upkeep; an error is logged, not raised."""
        leads = self._survive(self._look)
        if not leads:
            # A process that leads for no queue keeps no database connection open for upkeep.
            connection.close()

    def request_stop(self) -> None:
        """Make the thread end soon; safe from any thread and from signal handlers."""
        self._stopping.set()
        rabbitmq = self.upkeep.connection
        if rabbitmq is not None:
            rabbitmq.abort_soon()

    def stop(self) -> None:
        """Make the thread end, and wait up to `STOP_SECONDS` for it."""
        self.request_stop()
        if self.is_alive():
            self.join(STOP_SECONDS)

    def _look(self) -> bool:
        leads = self.upkeep.step()
        # Another process that leads may not reach RabbitMQ either.
        (rabbitmq_outage.recover if leads else rabbitmq_outage.leave)(PART)
        return leads

    def _survive(self, do: Callable[[], bool | None]) -> bool:
        try:
            leads = bool(do())
        except CANNOT_CONNECT as error:
            if not self._stopping.is_set():
                report(PART, error)
                # Another process may be able to reach RabbitMQ.
                self._survive(self.upkeep.end)
        except Exception as error:  # of any kind: without this thread the process would do no upkeep
            if is_operational(error):
                db_outage.report(PART, error)
            else:
                logger.exception("upkeep: step failed")
            self.upkeep.disconnect()
        else:
            db_outage.database_outage.recover(PART)
            return leads
        return False


def make_upkeep_thread() -> UpkeepThread:
    """Return an upkeep thread for the broker's RabbitMQ, whose connection is named after this process."""
    period_seconds = conf.OUTBOX_UPKEEP_SECONDS
    return UpkeepThread(partial(connect_to_broker, period_seconds=period_seconds), period_seconds=period_seconds)


def connect_to_broker(*, period_seconds: float) -> TimeLimitedConnection:
    """Connect to the broker's RabbitMQ.

    Args:
        period_seconds: from one step to the next; the heartbeat interval is longer, because pika answers heartbeats
            only while the connection is used.

    Raises:
        AMQPError, AMQPConnectorException, OSError: RabbitMQ cannot be reached.
    """
    broker = dramatiq.get_broker()
    assert isinstance(broker, RabbitmqBroker)
    heartbeat = max(MIN_HEARTBEAT_SECONDS, int(3 * period_seconds) + 1)
    return TimeLimitedConnection(
        with_connection_name(broker.parameters, process_name("upkeep")), heartbeat_seconds=heartbeat
    )
