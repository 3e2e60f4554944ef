"""Worker threads that run several messages after one another, and settle them in one transaction.

Guarantee: what a message goes through is what Dramatiq's own thread has it go through: its hooks in their order, its
own failure, no acknowledgement before it is settled. Only messages of actors that return rows share, and only if their
actor was quick the last time: none waits long for another's run. `middleware` puts these threads into Dramatiq's worker
and says what may share, `settlement` runs each message, `group_commit` settles them.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import MessageProxy
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import SkipMessage
from dramatiq.worker import WorkerThread, _WorkQueueItem

from actors.outbox.db.errors import RowIsLocked, database_is_away, trust_connection
from actors.outbox.exceptions import Unsettled
from actors.outbox.store import LivingRow
from actors.outbox.worker.delivery import read_together
from actors.outbox.worker.group_commit import GroupCommit, Work, settle_together
from actors.outbox.worker.log_buffer import lines_gathered, write_gathered

if TYPE_CHECKING:
    from actors.outbox.middleware import Settlement
    from actors.outbox.worker.execution import Settling

LARGEST_SHARE = 64
# No further message is begun when a share has run for so long; an actor that took longer by itself does not share.
QUICK_SECONDS = 0.05


class Pace:
    """How long the actors of a process took when they last ran."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def note(self, actor_name: str, seconds: float) -> None:
        """Remember how long an actor took."""
        self._seconds[actor_name] = seconds

    def is_quick(self, actor_name: str) -> bool:
        """Say whether an actor was quick; one that has not run yet was not."""
        return self._seconds.get(actor_name, QUICK_SECONDS) < QUICK_SECONDS


class Share:
    """Messages that one thread settles together."""

    def __init__(
        self, rows: dict[int, LivingRow], *, group_commit: GroupCommit, on_close: Callable[[], None] = lambda: None
    ) -> None:
        """Begin a share.

        Args:
            rows: of its messages, by id, as far as they were found.
            group_commit: settles.
            on_close: called when no further message is to begin in it.
        """
        self.is_closed = False
        """Whether no further message is to begin in it."""
        self._rows = rows
        self._group_commit = group_commit
        self._on_close = on_close
        self._waiting: dict[int, tuple[Settling, Work]] = {}
        self._is_given_up = False

    def enter(self, settling: "Settling") -> None:
        """Have a message use the row that was read for it, and wait to be settled once it has run."""
        delivery = settling.delivery
        row = self._rows.get(delivery.ticket.row_id)
        if row is not None and (row.attempt, row.message_id) == (delivery.ticket.attempt, delivery.message.message_id):
            settling.known_row = row
        settling.put_off = self._put_off
        settling.before_waiting = self.close

    def close(self) -> None:
        """Settle what has run, at its end or before something begins that may last, such as a wait for a lock."""
        self.is_closed = True
        self._on_close()
        write_gathered()
        left = [work for _settling, work in self._waiting.values() if not work.is_done]
        if left:
            self._group_commit.try_together(left)
            _settle_alone([work for work in left if not work.is_done])

    def _put_off(self, settling: "Settling", work: Work) -> None:
        self._waiting[id(settling.delivery.message)] = settling, work

    def waits(self, message: MessageProxy) -> bool:
        """Say whether a message has run, and its end is to come."""
        return id(message) in self._waiting

    def is_settled(self, message: MessageProxy) -> bool:
        """Say whether a message that waits has nothing to wait for any more."""
        return self._waiting[id(message)][1].is_done

    def end(self, message: MessageProxy) -> None:
        """Settle a message alone, and patiently, if it was not settled with the others.

        Raises:
            SkipMessage: it was settled or superseded before.
            Unsettled: the worker is to stop before its outcome could be written.
            Exception: whatever its rows or follow-ups raise; that is written down.
        """
        settling, work = self._waiting.pop(id(message))
        if work.is_done and work.is_owed:
            return
        if self._is_given_up and not work.is_done:
            raise Unsettled
        try:
            settling.settle_at_last(work)
        except Unsettled:
            # What one has waited for in vain, the others need not wait for.
            self._is_given_up = True
            raise


def _settle_alone(works: Sequence[Work]) -> None:
    """Settle each that can be settled at once: none may wait for what another has to wait for."""
    for work in works:
        try:
            settle_together([work])
        except RowIsLocked:
            continue
        except Exception as error:  # noqa: BLE001 – it meets its error again, as its own, at its end
            if database_is_away(error):
                return


class Passage:
    """One message's way through Dramatiq's hooks, as `WorkerThread.process_message` has it, with a halt in its middle.

    The halt is between the run of the actor and its settlement. What ends before never comes to the second part.
    """

    def __init__(self, thread: "SharingWorkerThread", message: MessageProxy) -> None:
        self._thread = thread
        self._message = message
        self._actor: dramatiq.Actor[Any, Any] | None = None

    def begin(self, share: Share) -> None:
        """Run the actor."""
        self._go(lambda: self._run(share))

    def end(self, share: Share) -> None:
        """Settle what halted, if it is not settled yet, and acknowledge it."""
        if share.waits(self._message):
            self._go(lambda: share.end(self._message))

    def has_to_wait(self, share: Share) -> bool:
        """Say whether it is still to be settled."""
        return share.waits(self._message) and not share.is_settled(self._message)

    def _run(self, share: Share) -> bool:
        self._thread.broker.emit_before("process_message", self._message)
        if self._message.failed:
            return False
        self._actor = self._thread.broker.get_actor(self._message.actor_name)
        self._actor(*self._message.args, **self._message.kwargs)
        return share.waits(self._message)

    def _go(self, part: Callable[[], bool | None]) -> None:
        message, broker = self._message, self._thread.broker
        has_halted: bool | None = False
        try:
            has_halted = part()
            if not has_halted:
                broker.emit_after("process_message", message, result=None)
        except SkipMessage as error:
            if message.failed:
                message.stuff_exception(error)
            self._thread.logger.warning("Message %s was skipped.", message)
            broker.emit_after("skip_message", message)
        except BaseException as error:  # noqa: BLE001 – Dramatiq's own way: whatever an actor raises is its failure
            message.stuff_exception(error)
            self._log(error)
            broker.emit_after("process_message", message, exception=error)
        finally:
            if not has_halted:
                self._thread.hand_over(message)

    def _log(self, error: BaseException) -> None:
        logger, message = self._thread.logger, self._message
        throws = message.options.get("throws") or (self._actor and self._actor.options.get("throws"))
        if isinstance(error, RateLimitExceeded):
            logger.debug("Rate limit exceeded in message %s: %s.", message, error)
        elif throws and isinstance(error, throws):
            logger.info("Failed to process message %s with expected exception %s.", message, type(error).__name__)
        elif not isinstance(error, Retry):
            logger.error("Failed to process message %s with unhandled exception.", message, exc_info=True)


class SharingWorkerThread(WorkerThread):
    """Dramatiq's worker thread, which takes along what waits and may share."""

    clock: Callable[[], float] = staticmethod(time.monotonic)
    """Monotonic seconds."""

    def __init__(self, *, settlement: "Settlement", **options: Any) -> None:
        super().__init__(**options)
        self._settlement = settlement

    def process_message(self, message: MessageProxy) -> None:
        along = self._take_along() if self._may_share(message) else []
        if along:
            self._process_together(message, along)
        else:
            super().process_message(message)

    def hand_over(self, message: MessageProxy) -> None:
        """Have a message acknowledged or rejected."""
        self.consumers[message.queue_name].post_process_message(message)
        self.work_queue.task_done()
        message.clear_exception()

    def _may_share(self, message: MessageProxy) -> bool:
        return self._settlement.may_share(self.broker, message)

    def _take_along(self) -> list[_WorkQueueItem]:
        """Return items of the queue, whose messages wait and may share: up to the first that may not."""
        taken: list[_WorkQueueItem] = []
        with suppress(Empty):
            while len(taken) < LARGEST_SHARE - 1:
                item = self.work_queue.get_nowait()
                if not self._may_share(item.message):
                    self._give_back(deque([item]))
                    break
                taken.append(item)
        return taken

    def _give_back(self, items: deque[_WorkQueueItem]) -> None:
        while items:
            self.work_queue.put(items.popleft())  # it is as old as it was, and so in its old place
            self.work_queue.task_done()

    def _process_together(self, first: MessageProxy, along: Sequence[_WorkQueueItem]) -> None:
        rest = deque(along)
        share = Share(
            read_together([first, *(item.message for item in along)]),
            group_commit=self._settlement.worker.group_commit,
            on_close=lambda: self._give_back(rest),
        )
        passages = [Passage(self, first)]
        until = self.clock() + QUICK_SECONDS
        with self._settlement.sharing(share), lines_gathered():
            passages[0].begin(share)
            while rest and not (share.is_closed or self.clock() > until or self._settlement.worker.stopping.is_set()):
                passages.append(Passage(self, rest.popleft().message))
                passages[-1].begin(share)
        trust_connection()
        share.close()
        # Those that are settled first: the others may have to wait.
        for passage in sorted(passages, key=lambda one: one.has_to_wait(share)):
            passage.end(share)


def share_in(worker: dramatiq.Worker, settlement: "Settlement") -> None:
    """Have a worker that is not started yet make threads that share."""

    def add_worker() -> None:
        thread = SharingWorkerThread(
            settlement=settlement,
            broker=worker.broker,
            consumers=worker.consumers,
            work_queue=worker.work_queue,
            worker_timeout=worker.worker_timeout,
        )
        thread.start()
        worker.workers.append(thread)

    worker._add_worker = add_worker  # type: ignore[method-assign]
