"""Settles a message in the transaction of its effect: row deleted, effect and follow-ups written, or none of it.

Guarantee: an effect in the database happens exactly once, one outside it at least once, and no message is acknowledged
whose outcome is not written down. `relay` brought the message, `starts` counts, `failures` writes what becomes of those
that fail, `group_commit` settles for actors that return rows, `holds` keeps a row for what cannot be rolled back.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import OperationalError, connection, transaction
from dramatiq.middleware import Shutdown, SkipMessage

from actors.outbox.context import Context, WorkingFor
from actors.outbox.db.errors import connection_was_lost, database_answers, database_is_away
from actors.outbox.db.retrying import retry_until_available
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import OutboxMessage
from actors.outbox.store import UnsettledRow, trail_of
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.execution_lease import ExecutionLease
from actors.outbox.worker.failures import NOT_HANDLED, describe, die, trace_of, write_failure
from actors.outbox.worker.follow_ups import has_follow_ups, send_follow_ups
from actors.outbox.worker.group_commit import Completion, rows_of
from actors.outbox.worker.poison import begin, forget
from actors.outbox.worker.state import WorkerState

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", bound=OutboxMessage | UnsettledRow)

# So often in a row a message may lose a database that answers at once afterwards, before that is the message's doing.
MAX_CUTS = 10


class StartNotCounted(Exception):
    """Raised when a message turns out to be a suspect whose start is not counted yet."""


@dataclass(kw_only=True)
class Execution:
    """One run of one delivery, to its end: settled, rescheduled, dead, dropped, or left to RabbitMQ."""

    delivery: Delivery

    worker: WorkerState

    run_id: UUID = field(default_factory=uuid4, init=False)
    """Whose its hold is."""

    has_begun: bool = field(default=False, init=False)
    """Whether its start is written down, where that is needed."""

    is_holding: bool = field(default=False, init=False)
    """Whether it has a hold, which an outage of the database may have outlasted."""

    known_row: UnsettledRow | None = field(default=None, init=False)
    """The row, where it was read together with others; of use once."""

    put_off: Callable[["Execution", Completion], None] | None = field(default=None, init=False)
    """Takes what it has done where it is settled together with others; `settle_at_last` follows."""

    before_waiting: Callable[[], None] | None = field(default=None, init=False)
    """Lets the others go before it waits for something that concerns none of them."""

    cuts: int = field(default=0, init=False)
    """How often in a row the database was lost while it ran, and answered at once afterwards."""

    def run(self, work: Callable[[], Any]) -> Any:
        """Run the actor and settle.

        Args:
            work: runs the actor.

        Raises:
            SkipMessage: the message was settled, superseded, put off or given up; nothing was done.
            LeaveForRedelivery: the worker is to stop before the outcome could be written; the message stays RabbitMQ's.
        """
        self.delivery.lift_interruptions()
        try:
            if self.delivery.is_redelivered or self.delivery.is_held or self.delivery.has_key:
                self._retry_until_available(self._begin, may_pass=is_any)
            try:
                return self._retry_until_available(partial(self._attempt, work))
            except StartNotCounted:
                self._retry_until_available(self._begin, may_pass=is_any)
                return self._retry_until_available(partial(self._attempt, work))
        except Shutdown as interruption:
            self._hand_back()
            raise LeaveForRedelivery from interruption

    def fail(self, error: BaseException) -> None:
        """Write down that the message failed before its actor began.

        Raises:
            LeaveForRedelivery: the worker is to stop before that could be written.
        """
        self.delivery.lift_interruptions()
        self._write_down(error)

    def skip(self) -> None:
        """Settle a message that a middleware has skipped: there is nothing to do, which is then done.

        Raises:
            LeaveForRedelivery: the worker is to stop before that could be written.
        """
        self.delivery.lift_interruptions()
        self._retry_until_available(lambda: self.delivery.row().delete(), may_pass=is_any)

    def settle_at_last(self, work: Completion) -> None:
        """Settle what was put off, if it is not settled meanwhile.

        Raises:
            SkipMessage: it was settled or superseded before.
            LeaveForRedelivery: the worker is to stop before the outcome could be written.
            Exception: whatever its rows or follow-ups raise; it is written down.
        """
        try:
            self._settle(work)
        except (SkipMessage, LeaveForRedelivery):
            raise
        except BaseException as error:
            self._write_down(error)
            raise

    @property
    def needs_hold(self) -> bool:
        """Whether it runs outside any transaction, so that no lock says that it does."""
        return self.delivery.is_held or self.delivery.returns_rows

    def _attempt(self, work: Callable[[], Any]) -> Any:
        if self.has_begun and self.needs_hold and not self.is_holding:
            self._begin()
        try:
            if self.needs_hold:
                return self._run_then_settle(work)
            return self._run_and_settle(work)
        except (SkipMessage, Shutdown, LeaveForRedelivery, StartNotCounted):
            raise
        except BaseException as error:
            self.delivery.lift_interruptions()
            if database_is_away(error) and not self._is_its_own_doing(error):
                # It may be away for longer than a hold lasts.
                self.is_holding = False
                if self.cuts:  # it is not away: what ran before need not wait for this one
                    self._let_others_go()
                raise
            self._write_down(error)
            raise

    def _is_its_own_doing(self, error: BaseException) -> bool:
        """Say whether it was not our connection that was lost, or the actor loses it whenever it runs."""
        if not connection_was_lost(error):
            return False
        if connection.connection is not None and database_answers():
            # A closed cursor, or a database of the actor's own.
            return True
        connection.close()
        if not database_answers():
            self.cuts = 0
            return False
        self.cuts += 1
        return self.cuts >= MAX_CUTS

    def _run_and_settle(self, work: Callable[[], Any]) -> Any:
        """Run an actor whose effects are in the database, in the transaction that settles it."""
        with transaction.atomic(durable=True):
            row = self._counted(self.delivery.locked_row())
            with self._on_behalf_of(row):
                result = self._result_of(work)
                send_follow_ups(self.delivery, result)
            self.delivery.row().delete()
            return result

    def _run_then_settle(self, work: Callable[[], Any]) -> Any:
        """Run an actor outside any transaction, and settle what it returned."""
        known, self.known_row = self.known_row, None
        row = self._counted(known or self.delivery.unsettled_row())
        with self._on_behalf_of(row), self._hold():
            result = self._result_of(work)
            rows, result = self._rows_and_result(result)
            done = Completion(ref=self.delivery.ref, rows=rows, follow_up=partial(self._follow_up_of, row, result))
            # Whoever holds its row has to keep the hold until it is settled.
            if self.put_off and not self.is_holding:
                self.put_off(self, done)
            else:
                self._settle(done)
            return result

    def _settle(self, work: Completion) -> None:
        self._retry_until_available(partial(self.worker.group_commit.settle, work))

    def _result_of(self, work: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            return self._interruptible_result_of(work)
        finally:
            self.worker.pace.note(self.delivery.actor.actor_name, time.monotonic() - began)

    def _interruptible_result_of(self, work: Callable[[], Any]) -> Any:
        with self.delivery.interruptible():
            try:
                if self.worker.stopping.is_set() and self.delivery.heeds_shutdown:
                    # Asked before it could be struck.
                    raise Shutdown
                return work()
            except SkipMessage:
                # The actor's own: there is nothing to do, which is then done.
                return None

    def _rows_and_result(self, result: Any) -> tuple[list[Any], Any]:
        if self.delivery.returns_rows:
            return rows_of(result, actor_name=self.delivery.actor.actor_name), None
        return [], result

    def _hold(self) -> AbstractContextManager[None]:
        return (
            self.worker.lease_renewer.renewing(ExecutionLease(self.delivery.ref.row_id, self.run_id))
            if self.is_holding
            else nullcontext()
        )

    def _on_behalf_of(self, row: OutboxMessage | UnsettledRow) -> WorkingFor:
        """Make what is sent meanwhile carry the origin of this message, and let the actor know its trail."""
        context = Context(request_id=row.request_id, changed_by=row.changed_by, changed_by_id=row.changed_by_id)
        return WorkingFor(context, trail_of(row))

    def _counted(self, row: R) -> R:
        if row.starts and not self.has_begun:
            raise StartNotCounted
        return row

    def _let_others_go(self) -> None:
        if self.before_waiting:
            self.before_waiting()

    def _begin(self) -> None:
        self._let_others_go()
        if put_off := begin(self.delivery, run=self.run_id, takes_hold=self.needs_hold, goes_on=self.has_begun):
            raise SkipMessage(put_off)
        self.has_begun, self.is_holding = True, self.needs_hold

    def _hand_back(self) -> None:
        self.delivery.lift_interruptions()
        if self.has_begun:
            self._retry_until_available(partial(forget, self.delivery, run=self.run_id))

    def _follow_up_of(self, row: OutboxMessage | UnsettledRow, result: Any) -> None:
        # It is called in whichever thread commits, on behalf of another message; most have nothing to send.
        with self._on_behalf_of(row) if has_follow_ups(self.delivery) else nullcontext():
            send_follow_ups(self.delivery, result)

    def _write_down(self, error: BaseException) -> None:
        self._let_others_go()
        try:
            self._retry_until_available(partial(write_failure, self.delivery, error), may_pass=is_operational)
        except Exception as second:
            if database_is_away(second):
                raise
            # Its callback's name may be unknown, its `retry_when` may fail: what must not fail is to keep it.
            logger.exception("failure not handled %s", self.delivery.log_fields(describe(error)))
            details = f"{describe(error)}; then {describe(second)}"
            self._retry_until_available(
                partial(die, self.delivery, NOT_HANDLED, details, trace_of(error)), may_pass=is_any
            )

    def _retry_until_available(
        self, do: Callable[[], T], *, may_pass: Callable[[BaseException], bool] = database_is_away
    ) -> T:
        return retry_until_available(do, stopping=self.worker.stopping, what=self.delivery, may_pass=may_pass)


def is_operational(error: BaseException) -> bool:
    """Say that a lock, a deadlock or a timeout passes too."""
    return isinstance(error, OperationalError) or database_is_away(error)


def is_any(_error: BaseException) -> bool:
    """Say that what must be written down is tried until it is: to acknowledge would lose it."""
    return True
