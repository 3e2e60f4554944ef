"""Settles a message in the transaction of its effect: row deleted, effect and follow-ups written, or none of it.

Guarantee: an effect in the database happens exactly once, one outside it at least once, and no message is acknowledged
whose outcome is not written down. `relay` brought the message, `retries` judges its failures, `deadletters` keeps what
is given up; `group_commit` settles for actors that return rows, `holds` keeps a row for what cannot be rolled back.
"""

import logging
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from dramatiq import Message
from dramatiq.middleware import Shutdown, SkipMessage

from actors.outbox.context import Context, sent_by
from actors.outbox.delivery import Delivery
from actors.outbox.errors import Unsettled
from actors.outbox.group_commit import GroupCommit, Work, rows_of
from actors.outbox.holds import HoldKeeper, end_of_hold
from actors.outbox.models import NOBODYS, OutboxMessage, State, clean
from actors.outbox.outage import database_is_away
from actors.outbox.patience import patiently
from actors.outbox.retries import RETRIES_EXHAUSTED, OutboxRetries, Verdict, jittered_backoff

logger = logging.getLogger(__name__)

# How often a redelivered message is begun before it is taken for one that kills its worker.
MOST_STARTS = 5
# From so many on it is a suspect, and is begun after a pause of its own, away from those that it was seen dying with.
SUSPECT_STARTS = 2
MIN_SUSPENSION_MS = 1_000
MAX_SUSPENSION_MS = 60_000

STARTS_EXCEEDED = "starts exceeded"

T = TypeVar("T")


class Uncounted(Exception):
    """Raised when a message turns out to be a suspect whose start is not counted yet."""


@dataclass(kw_only=True)
class Worker:
    """What the messages of one worker process share."""

    stopping: threading.Event = field(default_factory=threading.Event)

    group_commit: GroupCommit = field(default_factory=GroupCommit)

    holds: HoldKeeper = field(default_factory=HoldKeeper)


@dataclass(kw_only=True)
class Settling:
    """One run of one delivery, to its end: settled, rescheduled, dead, dropped, or left to RabbitMQ."""

    delivery: Delivery

    worker: Worker

    has_begun: bool = field(default=False, init=False)
    """Whether its start is written down, where that is needed."""

    def run(self, work: Callable[[], Any]) -> Any:
        """Run the actor and settle.

        Raises:
            SkipMessage: the message was settled, superseded, put off or given up; nothing was done.
            Unsettled: the worker is to stop before the outcome could be written; the message stays RabbitMQ's.
        """
        self.delivery.lift_time_limit()
        try:
            if self.delivery.is_redelivered or self.is_held:
                self._patiently(self._begin)
            try:
                return self._patiently(partial(self._attempt, work))
            except Uncounted:
                self._patiently(self._begin)
                return self._patiently(partial(self._attempt, work))
        except Shutdown as interruption:
            self._hand_back()
            raise Unsettled from interruption

    @property
    def is_held(self) -> bool:
        return bool(self.delivery.actor.options.get("outside_effects"))

    @property
    def returns_rows(self) -> bool:
        return bool(self.delivery.actor.options.get("returns_rows"))

    def _attempt(self, work: Callable[[], Any]) -> Any:
        try:
            if self.is_held or self.returns_rows:
                return self._run_then_settle(work)
            return self._run_and_settle(work)
        except (SkipMessage, Shutdown, Unsettled, Uncounted):
            raise
        except BaseException as error:
            self.delivery.lift_time_limit()
            if database_is_away(error):
                raise
            self._write_down(error)
            raise

    def _run_and_settle(self, work: Callable[[], Any]) -> Any:
        """Run an actor whose effects are in the database, in the transaction that settles it."""
        with transaction.atomic(durable=True):
            row = self._counted(self.delivery.locked_row())
            with self._on_behalf_of(row):
                with self.delivery.time_limit():
                    result = work()
                self._follow_up(result)
            self.delivery.row().delete()
            return result

    def _run_then_settle(self, work: Callable[[], Any]) -> Any:
        """Run an actor outside any transaction, and settle what it returned."""
        row = self._counted(self.delivery.living_row())
        with self._on_behalf_of(row), self._hold():
            with self.delivery.time_limit():
                result = work()
            rows, result = self._rows_and_result(result)
            done = Work(ticket=self.delivery.ticket, rows=rows, follow_up=partial(self._follow_up, result))
            self._patiently(partial(self.worker.group_commit.settle, done))
            return result

    def _rows_and_result(self, result: Any) -> tuple[list[Any], Any]:
        if self.returns_rows:
            return rows_of(result, actor_name=self.delivery.actor.actor_name), None
        return [], result

    def _hold(self) -> AbstractContextManager[None]:
        return self.worker.holds.keeping(self.delivery.ticket) if self.is_held else nullcontext()

    def _on_behalf_of(self, row: OutboxMessage) -> AbstractContextManager[None]:
        """Make what is sent meanwhile carry the origin of this message."""
        context = Context(request_id=row.request_id, changed_by=row.changed_by, changed_by_id=row.changed_by_id)
        return sent_by(context)

    def _counted(self, row: OutboxMessage) -> OutboxMessage:
        if row.starts and not self.has_begun:
            raise Uncounted
        return row

    def _begin(self) -> None:
        """Write down that a message begins, where it may have killed a worker before, or is to be held.

        What is held by another worker, and a suspect that comes straight from its last end, is put off: its row is its
        schedule. The lock tells apart whoever is still at it.
        """
        with transaction.atomic(durable=True):
            row = self.delivery.locked_row()
            put_off = self._reason_to_put_off(row)
            if not put_off:
                starts = F("starts") + 1 if self.delivery.is_redelivered or row.starts else F("starts")
                self.delivery.row().update(starts=starts, held_until=end_of_hold() if self.is_held else None)
        if put_off:
            raise SkipMessage(put_off)
        self.has_begun = True

    def _reason_to_put_off(self, row: OutboxMessage) -> str:
        if self.delivery.row().filter(held_until__gt=Now()).update(state=State.SCHEDULED, due_at=F("held_until")):
            return "held by another worker: looked at again when its hold ends"
        if row.starts >= MOST_STARTS:
            self._die(STARTS_EXCEEDED, f"begun {row.starts} times again, and never ended: it seems to kill its worker")
            return STARTS_EXCEEDED
        if self.delivery.is_redelivered and row.starts >= SUSPECT_STARTS:
            pause_ms = jittered_backoff(
                row.starts - SUSPECT_STARTS, least_ms=MIN_SUSPENSION_MS, longest_ms=MAX_SUSPENSION_MS
            )
            self.delivery.row().update(state=State.SCHEDULED, due_at=Now() + timedelta(milliseconds=pause_ms))
            return f"begun {row.starts} times again: it is tried away from the others"
        return ""

    def _hand_back(self) -> None:
        """Let go of a message that was interrupted in good order: RabbitMQ has it, and it killed nobody."""
        self.delivery.lift_time_limit()
        self._patiently(lambda: self.delivery.row().update(starts=0, held_until=None))

    def _follow_up(self, result: Any) -> None:
        """Send what comes next, as part of the effect: the pipeline's next message and the success callback."""
        options, broker = self.delivery.message.options, self.delivery.broker
        if target := options.get("pipe_target"):
            following: Message[Any] = Message(**target)
            if not (following.options.get("pipe_ignore") or self.delivery.actor.options.get("pipe_ignore")):
                following = following.copy(args=(*following.args, result))
            broker.enqueue(following, delay=following.options.get("delay"))
        self._call_back("on_success", result)

    def _call_back(self, option: str, *arguments: Any) -> None:
        if name := self.delivery.option(option):
            self.delivery.broker.get_actor(name).send(self.delivery.message.asdict(), *arguments)

    def _write_down(self, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error, limit=30))
        try:
            self._patiently(partial(self._write_failure, error, trace))
        except Exception as second:
            if database_is_away(second):
                raise
            # Its callback's name may be unknown, its `retry_when` may fail: what must not fail is to keep it.
            logger.exception("row=%s its failure could not be handled", self.delivery.ticket)
            details = f"{describe(error)}; then {describe(second)}"
            self._patiently(partial(self._die, "failure not handled", details, trace))

    def _write_failure(self, error: BaseException, trace: str) -> None:
        verdict = self._verdict(error)
        with transaction.atomic():
            if verdict.delay_ms is not None:
                written = self._reschedule(verdict.delay_ms, describe(error), trace)
            else:
                written = self._die(verdict.reason, describe(error), trace)
            if written:
                self._tell_of_failure(error, verdict)

    def _tell_of_failure(self, error: BaseException, verdict: Verdict) -> None:
        self._call_back("on_failure", {"type": type(error).__name__, "message": str(error)})
        if verdict.reason == RETRIES_EXHAUSTED:
            counts = {"retries": self._retries(), "max_retries": verdict.max_retries}
            self._call_back("on_retry_exhausted", counts)

    def _verdict(self, error: BaseException) -> Verdict:
        [policy] = [one for one in self.delivery.broker.middleware if isinstance(one, OutboxRetries)]
        options = self.delivery.message.options
        return policy.judge(self.delivery.actor, options=options, attempt=self._retries(), error=error)

    def _retries(self) -> int:
        """Return how many retries there were since the message was sent or last replayed."""
        first = self.delivery.row().values_list("first_attempt", flat=True).first()
        return self.delivery.ticket.attempt - (first or 0)

    def _reschedule(self, delay_ms: int, error: str, trace: str) -> bool:
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
        return bool(written)

    def _die(self, reason: str, error: str, trace: str = "") -> bool:
        written = self.delivery.row().die(reason, error=error, traceback=trace)
        logger.error("state=dead row=%s reason=%r written=%d", self.delivery.ticket, reason, written)
        return bool(written)

    def _patiently(self, do: Callable[[], T]) -> T:
        return patiently(do, stopping=self.worker.stopping, what=self.delivery.ticket)


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
