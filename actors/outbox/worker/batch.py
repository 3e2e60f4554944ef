"""Worker threads that run several quick messages one after another and settle them in one transaction.

Guarantee: each message is handled exactly as by Dramatiq's own worker thread: every hook once and in order, a failure
fails its message alone, no acknowledgement before it is settled. Only messages of actors that return rows are batched,
and only if their actor's last run was quick, so no message waits long for another's run. `engine` installs these
threads in Dramatiq's worker, `execution` runs each message, `group_commit` settles them.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty
from typing import Any

from dramatiq import MessageProxy, WorkerThread
from dramatiq.middleware import SkipMessage

from actors.outbox.db.errors import trust_connection
from actors.outbox.decoding import AttemptRef
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.store import UnsettledRow
from actors.outbox.worker.delivery import read_together
from actors.outbox.worker.dramatiq_internals import SKIPPED, WorkQueueItem
from actors.outbox.worker.execution import Execution
from actors.outbox.worker.group_commit import Completion, settle_batch
from actors.outbox.worker.log_buffer import buffered_lines, flush_lines
from actors.outbox.worker.state import QUICK_SECONDS, WorkerState

MAX_BATCH = 64

_thread = threading.local()


def current_run() -> "MessageRun | None":
    """Return the run of the message that this thread runs in a batch; None outside a batch."""
    run: MessageRun | None = getattr(_thread, "run", None)
    return run


class Batch:
    """Messages that one thread runs one after another and settles in one group commit."""

    def __init__(self, rows: dict[int, UnsettledRow], *, on_close: Callable[[], None]) -> None:
        """Begin a batch.

        Args:
            rows: the unsettled rows of its messages, by id, as far as they could be read.
            on_close: called at each `close`; after the first, no further message begins in the batch.
        """
        self.rows = rows
        self.is_closed = False
        """Whether no further message may begin in it."""
        self.is_given_up = False
        """Whether one of its messages was left for redelivery: the others need not wait for the database again."""
        self._on_close = on_close
        self._unsettled: list[Completion] = []

    def defer(self, completion: Completion) -> None:
        """Settle a completion at the next `close`."""
        self._unsettled.append(completion)

    def close(self) -> None:
        """Settle the completed runs: at the end, or before one of its messages may have to wait, such as for a lock."""
        self.is_closed = True
        self._on_close()
        flush_lines()
        left, self._unsettled = self._unsettled, []
        if left:
            settle_batch(left)


class MessageRun:
    """Runs one message through Dramatiq's hooks, as `WorkerThread.process_message` does, but in two parts.

    `begin` runs the actor, `end` settles its message. A message that has ended in the first part, because it failed,
    was skipped or is settled already, has no second part.
    """

    def __init__(self, thread: "BatchingWorkerThread", message: MessageProxy, batch: Batch) -> None:
        self.batch = batch
        self._thread = thread
        self._message = message
        # Set between the two parts.
        self._deferred: tuple[Execution, Completion] | None = None

    def enter(self, execution: Execution) -> None:
        """Pass the row that the batch has read to the message's execution, and defer its settling to the batch.

        Raises:
            SkipMessage: the message is forged.
        """
        delivery = execution.delivery
        row = self.batch.rows.get(delivery.ref.row_id)
        if row is not None and (row.attempt, row.message_id) == (delivery.ref.attempt, delivery.message.message_id):
            delivery.require_equal(row)
            execution.known_row = row
        execution.defer = self._defer
        execution.before_waiting = self.batch.close

    def begin(self) -> None:
        """Run the actor: the first part."""
        _thread.run = self
        try:
            self._go(self._run)
        finally:
            _thread.run = None

    def end(self) -> None:
        """Settle the message if it is not settled yet, and acknowledge it: the second part, if there is one."""
        if self._deferred:
            self._go(self._settle)

    def has_to_wait(self) -> bool:
        """Return whether the message is still to be settled."""
        return self._deferred is not None and not self._deferred[1].is_done

    def _defer(self, execution: Execution, completion: Completion) -> None:
        self._deferred = execution, completion
        self.batch.defer(completion)

    def _run(self) -> None:
        self._thread.broker.emit_before("process_message", self._message)
        if not self._message.failed:
            actor = self._thread.broker.get_actor(self._message.actor_name)
            actor(*self._message.args, **self._message.kwargs)

    def _settle(self) -> None:
        """Settle the message alone if it was not settled with the others; retry while the database is unavailable.

        Raises:
            SkipMessage: the message was settled or superseded before.
            LeaveForRedelivery: the worker stops before its outcome could be written.
            BaseException: the failure of its rows or follow-ups; its outcome is written.
        """
        assert self._deferred
        (execution, completion), self._deferred = self._deferred, None
        if completion.is_done and completion.was_unsettled:
            return
        if self.batch.is_given_up and not completion.is_done:
            raise LeaveForRedelivery
        try:
            execution.settle_deferred(completion)
        except LeaveForRedelivery:
            self.batch.is_given_up = True
            raise

    def _go(self, part: Callable[[], None]) -> None:
        message, broker = self._message, self._thread.broker
        try:
            part()
            if not self._deferred:
                broker.emit_after("process_message", message, result=None)
        except SkipMessage as error:
            if message.failed:
                message.stuff_exception(error)
            self._thread.logger.warning(SKIPPED, message)
            broker.emit_after("skip_message", message)
        except BaseException as error:  # noqa: BLE001 – as in Dramatiq: any exception of an actor is its failure
            message.stuff_exception(error)  # `failures` has logged it
            broker.emit_after("process_message", message, exception=error)
        finally:
            if not self._deferred:
                self._thread.hand_over(message)


class BatchingWorkerThread(WorkerThread):
    """Dramatiq's worker thread; for a message that may be batched it takes further ones from the work queue."""

    clock: Callable[[], float] = staticmethod(time.monotonic)
    """Monotonic seconds."""

    def __init__(self, *, state: WorkerState, **options: Any) -> None:
        super().__init__(**options)
        self._state = state

    def process_message(self, message: MessageProxy) -> None:
        along = self._take_along() if self._may_batch(message) else []
        if along:
            self._process_together(message, along)
        else:
            super().process_message(message)

    def hand_over(self, message: MessageProxy) -> None:
        """Hand a message to its consumer, to be acknowledged or rejected."""
        self.consumers[message.queue_name].post_process_message(message)
        self.work_queue.task_done()
        message.clear_exception()

    def _may_batch(self, message: MessageProxy) -> bool:
        """Return whether a message may run in a batch: not if its start may have to be written before it runs."""
        actor = self.broker.actors.get(message.actor_name)
        return (
            actor is not None
            and self._state.is_quick(actor.actor_name)
            and bool(actor.options.get("returns_rows"))
            and not (message.failed or getattr(message, "redelivered", False) or actor.options.get("outside_effects"))
            and AttemptRef.of(message.options) is not None
            and not message.options.get("dedupe_key")
        )

    def _take_along(self) -> list[WorkQueueItem]:
        """Take messages from the work queue, up to the first that may not be batched."""
        taken: list[WorkQueueItem] = []
        with suppress(Empty):
            while len(taken) < MAX_BATCH - 1:
                item = self.work_queue.get_nowait()
                if not self._may_batch(item.message):
                    self._give_back(deque([item]))
                    break
                taken.append(item)
        return taken

    def _give_back(self, items: deque[WorkQueueItem]) -> None:
        while items:
            self.work_queue.put(items.popleft())  # in its old place: the queue orders items by their own time
            self.work_queue.task_done()

    def _process_together(self, first: MessageProxy, along: Sequence[WorkQueueItem]) -> None:
        rest = deque(along)
        batch = Batch(read_together([first, *(item.message for item in along)]), on_close=lambda: self._give_back(rest))
        runs = [MessageRun(self, first, batch)]
        until = self.clock() + QUICK_SECONDS
        with buffered_lines():
            runs[0].begin()
            while rest and not (batch.is_closed or self.clock() > until or self._state.stopping.is_set()):
                runs.append(MessageRun(self, rest.popleft().message, batch))
                runs[-1].begin()
        trust_connection()
        batch.close()
        # Settled messages first: the others may have to wait.
        for run in sorted(runs, key=MessageRun.has_to_wait):
            run.end()
