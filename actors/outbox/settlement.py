"""Settles a message in the transaction of its effect: row deleted, effect and follow-ups written, or none of it.

Guarantee: an effect in the database happens exactly once, and no message is acknowledged whose outcome is not written
down. `relay` brought the message, `retries` judges its failures, `deadletters` keeps what is given up.
"""

import ctypes
import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import dramatiq
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from dramatiq import Broker, Message, MessageProxy
from dramatiq.middleware import Shutdown, SkipMessage, TimeLimit

from actors.outbox.envelope import Ticket
from actors.outbox.errors import Unsettled
from actors.outbox.models import NOBODYS, OutboxMessage, State, clean
from actors.outbox.outage import database_is_away, lock_was_not_available
from actors.outbox.retries import RETRIES_EXHAUSTED, OutboxRetries, Verdict, jittered_backoff

logger = logging.getLogger(__name__)

# A lock that outlasts this is another worker's: the relay holds one for milliseconds.
LOCK_TIMEOUT_MS = 2_000
# How often a redelivered message is begun before it is taken for one that kills its worker.
MOST_STARTS = 5
MIN_PATIENCE_MS = 100
MAX_PATIENCE_MS = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message of the outbox that a worker has begun."""

    ticket: Ticket

    message: MessageProxy

    broker: Broker

    def row(self) -> Any:
        """Return the row to settle, if it is still at this attempt."""
        return OutboxMessage.objects.filter(pk=self.ticket.row_id, attempt=self.ticket.attempt)


@dataclass(kw_only=True)
class Settling:
    """One run of one delivery, to its end: settled, rescheduled, dead, dropped, or left to RabbitMQ."""

    delivery: Delivery

    actor: dramatiq.Actor[Any, Any]

    stopping: threading.Event

    def run(self, work: Callable[[], Any]) -> Any:
        """Run the actor and settle.

        Raises:
            SkipMessage: the message was settled or superseded before; nothing was done.
            Unsettled: the database is away and the worker is to stop; the message stays RabbitMQ's.
        """
        if getattr(self.delivery.message, "redelivered", False):  # a stub broker's messages know no deliveries
            self._patiently(self._count_start)
        return self._patiently(partial(self._attempt, work))

    def _attempt(self, work: Callable[[], Any]) -> Any:
        try:
            with transaction.atomic(durable=True):
                self._lock()
                result = work()
                lift_time_limit(self.delivery.broker)
                self._follow_up(result)
                self.delivery.row().delete()
                return result
        except (SkipMessage, Shutdown):
            raise
        except BaseException as error:
            lift_time_limit(self.delivery.broker)
            if database_is_away(error):
                raise
            self._patiently(partial(self._write_failure, error))
            raise

    def _lock(self) -> None:
        row = self.delivery.row()
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
            row = row.select_for_update()
        try:
            found = row.exclude(state=State.DEAD).values_list("pk", flat=True).first()
        except OperationalError as error:
            if lock_was_not_available(error):
                raise SkipMessage("another worker is settling it") from error
            raise
        if found is None:
            raise SkipMessage("settled or superseded before")

    def _follow_up(self, result: Any) -> None:
        """Send what comes next, as part of the effect: the pipeline's next message and the success callback."""
        options, broker = self.delivery.message.options, self.delivery.broker
        if target := options.get("pipe_target"):
            following: Message[Any] = Message(**target)
            if not (following.options.get("pipe_ignore") or self.actor.options.get("pipe_ignore")):
                following = following.copy(args=(*following.args, result))
            broker.enqueue(following, delay=following.options.get("delay"))
        self._call_back("on_success", result)

    def _call_back(self, option: str, *arguments: Any) -> None:
        name = self.delivery.message.options.get(option) or self.actor.options.get(option)
        if name:
            self.delivery.broker.get_actor(name).send(self.delivery.message.asdict(), *arguments)

    def _count_start(self) -> None:
        self.delivery.row().update(starts=F("starts") + 1)
        starts = self.delivery.row().values_list("starts", flat=True).first()
        if starts is not None and starts > MOST_STARTS:
            self._die("starts exceeded", f"begun {starts} times, and never ended: it seems to kill its worker", "")
            raise SkipMessage("starts exceeded")

    def _write_failure(self, error: BaseException) -> None:
        verdict = self._verdict(error)
        trace = "".join(traceback.format_exception(error, limit=30))
        with transaction.atomic():
            if verdict.delay_ms is not None:
                self._reschedule(verdict.delay_ms, describe(error), trace)
            elif self._die(verdict.reason, describe(error), trace):
                self._call_back("on_failure", {"type": type(error).__name__, "message": str(error)})
                if verdict.reason == RETRIES_EXHAUSTED:
                    self._call_back("on_retry_exhausted", {"retries": self.delivery.ticket.attempt})

    def _verdict(self, error: BaseException) -> Verdict:
        [policy] = [one for one in self.delivery.broker.middleware if isinstance(one, OutboxRetries)]
        options = self.delivery.message.options
        return policy.judge(self.actor, options=options, attempt=self.delivery.ticket.attempt, error=error)

    def _reschedule(self, delay_ms: int, error: str, trace: str) -> None:
        written = self.delivery.row().update(
            state=State.SCHEDULED,
            attempt=F("attempt") + 1,
            starts=0,
            due_at=Now() + timedelta(milliseconds=delay_ms),
            error=clean(error),
            traceback=clean(trace),
            **NOBODYS,
        )
        logger.info("state=scheduled row=%s delay_ms=%d written=%d", self.delivery.ticket, delay_ms, written)

    def _die(self, reason: str, error: str, trace: str) -> bool:
        written = self.delivery.row().die(reason, error=error, traceback=trace)
        logger.error("state=dead row=%s reason=%r written=%d", self.delivery.ticket, reason, written)
        return bool(written)

    def _patiently(self, do: Callable[[], Any]) -> Any:
        """Do something in the database; where that is away, wait for it. It is nobody's failure."""
        waits = 0
        while True:
            try:
                return do()
            except (OperationalError, InterfaceError) as error:
                if not database_is_away(error):
                    raise
                delay_ms = jittered_backoff(waits, least_ms=MIN_PATIENCE_MS, longest_ms=MAX_PATIENCE_MS)
                logger.warning("database away row=%s waiting_ms=%d error=%s", self.delivery.ticket, delay_ms, error)
                connection.close()
                if self.stopping.wait(delay_ms / 1000):
                    raise Unsettled from error
                waits += 1


def lift_time_limit(broker: Broker) -> None:
    """End the actor's deadline: it must not strike while the outcome is being written."""
    for middleware in broker.middleware:
        if isinstance(middleware, TimeLimit):
            middleware.manager.remove_timeout(threading.get_ident())  # type: ignore[no-untyped-call]
    # One that has been raised already, and not been delivered yet, is taken back.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
