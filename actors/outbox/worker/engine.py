"""Implements the hooks of `middleware`: executes messages of the outbox, and ends those whose actor never ran.

Guarantee: a message with a row runs through an `Execution`, which writes its outcome before it is acknowledged. An
actor that is called as a function, or for a foreign message, settles nothing; the rows that it returns are inserted. A
foreign message, one that another program published and that has no row, is not acknowledged after a failure before its
retry is written; the retry is a row like any other.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import dramatiq
from django.db import transaction
from dramatiq import Broker, MessageProxy
from dramatiq.middleware import SkipMessage

from actors.outbox.context import log_word
from actors.outbox.db.inserts import insert_rows
from actors.outbox.db.retrying import retry_until_available
from actors.outbox.decoding import AttemptRef
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.log_limit import limit_lines
from actors.outbox.models import State
from actors.outbox.worker.batch import BatchingWorkerThread, current_run
from actors.outbox.worker.coroutines import call_to_end
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.dramatiq_internals import FAILED, SKIPPED, THREADS_LOGGER, error_of, make_threads_with
from actors.outbox.worker.execution import Execution
from actors.outbox.worker.group_commit import rows_of
from actors.outbox.worker.log_buffer import kept_lines, write_kept
from actors.outbox.worker.retries import retries_of
from actors.outbox.worker.state import WorkerState

logger = logging.getLogger(__name__)
SETTLED = "settled"


def is_news(record: logging.LogRecord) -> bool:
    """Return False for Dramatiq's line about the failure of a message with a row: `failures` logs each once."""
    return record.msg not in FAILED or AttemptRef.of(record.args[0].options) is None  # type: ignore[index,union-attr]


# A client of RabbitMQ can cause it without end, by messages without an unsettled row. So many all the same: of commits
# that were lost with a database server these lines are all that is left (docs/reliability.md).
limit_lines(logging.getLogger(THREADS_LOGGER), SKIPPED, max_lines=10_000)
logging.getLogger(THREADS_LOGGER).addFilter(is_news)


class Engine:
    """Executes the messages of one worker process."""

    def __init__(self) -> None:
        self.state = WorkerState()
        self._thread = threading.local()

    def install(self, worker: dramatiq.Worker) -> None:
        """Make a worker that has not started yet run quick messages in batches."""
        make_threads_with(partial(BatchingWorkerThread, state=self.state), worker)

    def stop(self) -> None:
        """End all waits for the database: from now on an execution leaves its message for redelivery instead."""
        self.state.stopping.set()

    def renew(self) -> None:
        """Prepare for another worker in this process, such as that of the next test."""
        self.state = WorkerState()

    def receive(self, message: MessageProxy) -> None:
        """Remember the message whose actor this thread is about to call."""
        self._thread.message = message

    def call(self, actor: dramatiq.Actor[Any, Any], function: Callable[[], Any]) -> Any:
        """Call an actor's function: in an execution of this thread's message, if there is one with a row."""
        # Cleared at once: an actor that this one calls as a function settles nothing.
        message, self._thread.message = getattr(self._thread, "message", None), None
        function = partial(call_to_end, actor, function, in_worker=message is not None)
        execution = message and self._execution_of(actor.broker, message)
        if not execution:
            return _call_without_row(actor, function)
        assert message is not None
        message.started_by_outbox = True
        try:
            if run := current_run():
                run.enter(execution)
            result = execution.run(function)
        except SkipMessage:
            execution.delivery.withhold_result()
            raise
        # In a batch it is going to be settled, or its failure to be written, before any other hook is called.
        message.outcome, message.settled_row = SETTLED, execution.row
        return result

    def end_failed(self, broker: Broker, message: MessageProxy, error: BaseException) -> None:
        """Write the outcome of a message that failed, if no execution has: it is foreign, or its actor never ran."""
        if AttemptRef.of(message.options) is None:
            self._thread.message = None
            self._retry_foreign(broker, message, error)
        else:
            self._end_not_started(broker, message, lambda execution: execution.fail(error))

    def end_skipped(self, broker: Broker, message: MessageProxy) -> None:
        """Settle a message that another middleware has skipped."""
        self._end_not_started(broker, message, Execution.skip)

    def fail_afterwards(self, broker: Broker, message: MessageProxy) -> None:
        """Make a dead letter of a message that is to be rejected although it was settled, or will be retried."""
        outcome = getattr(message, "outcome", "")
        if outcome not in (SETTLED, State.SCHEDULED) or isinstance(error_of(message), LeaveForRedelivery):
            return
        execution = self._execution_of(broker, message)
        assert execution is not None
        try:
            execution.fail_afterwards(message.settled_row if outcome == SETTLED else None)
        except LeaveForRedelivery as error:
            message.stuff_exception(error)

    def _retry_foreign(self, broker: Broker, message: MessageProxy, error: BaseException) -> None:
        """Let Dramatiq's own Retries decide on a foreign message that failed: its retry is a send, and so a row."""
        options: dict[str, Any] = dict(message.options)
        named = f"actor={log_word(message.actor_name)} message={log_word(message.message_id)}"

        def retry() -> None:
            # Dramatiq counts the retry in the options; a try that fails in an outage of the database must not count.
            message.options.clear()
            message.options.update(options)
            retries_of(broker).retry_as_dramatiq(broker, message, error)

        try:
            retry_until_available(retry, stopping=self.state.stopping, what=named)
        except LeaveForRedelivery as unsettled:
            message.stuff_exception(unsettled)
        except Exception:  # of any kind: a message whose outcome cannot be written must not be acknowledged
            logger.exception("retry not written %s", named)
            message.fail()

    def _execution_of(self, broker: Broker, message: MessageProxy) -> Execution | None:
        """Return the execution of a message; None for a foreign one."""
        ref = AttemptRef.of(message.options)
        if ref is None:
            return None
        actor = broker.get_actor(message.actor_name)
        delivery = Delivery(ref=ref, message=message, actor=actor, broker=broker)
        return Execution(delivery=delivery, worker=self.state)

    def _end_not_started(self, broker: Broker, message: MessageProxy, end: Callable[[Execution], None]) -> None:
        self._thread.message = None
        if getattr(message, "started_by_outbox", False) or message.failed:
            return
        execution = self._execution_of(broker, message)
        if execution is None:
            return
        if run := current_run():
            run.batch.close()
        try:
            end(execution)
        except LeaveForRedelivery as error:
            message.stuff_exception(error)
        except SkipMessage as reason:
            logger.info("outcome dropped %s: %s", execution.delivery, reason)
            execution.delivery.withhold_result()


def _call_without_row(actor: dramatiq.Actor[Any, Any], function: Callable[[], Any]) -> Any:
    if not actor.options.get("returns_rows"):
        return function()
    with kept_lines() as lines:
        result = function()
    with transaction.atomic():
        insert_rows(rows_of(result, actor_name=actor.actor_name))
    write_kept(lines)
    return None
