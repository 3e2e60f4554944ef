"""The base of the broker of tests: Dramatiq's StubBroker over the rows of the outbox, in place of queues in memory.

Guarantee: its methods mean what they mean in Dramatiq's StubBroker, but that `join` does not wait out delays. Knows no
models at import (see the package).
"""

import time
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dramatiq import Consumer, MessageProxy, Middleware, Worker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import dq_name, q_name
from dramatiq.errors import QueueNotFound

from actors.outbox.db.transactions import is_in_test_case
from actors.outbox.testing.connections import keep_test_connections, require_no_open_block
from actors.outbox.testing.row_queues import RowQueue
from actors.outbox.worker.dramatiq_internals import error_of, without_worker

if TYPE_CHECKING:
    from actors.outbox.models import OutboxMessageQuerySet
    from actors.outbox.testing.deliveries import Deliveries


class RowStubBroker(StubBroker):
    """A stub broker whose messages are rows, run by a started worker's threads or in the thread that joins."""

    def __init__(self, middleware: list[Middleware] | None = None, *, fail_fast_default: bool = True) -> None:
        """Make a broker.

        Args:
            middleware: as for any broker.
            fail_fast_default: whether `join` raises the error of a dead letter, unless it is told otherwise.
        """
        # Not StubBroker's own: dead letters are read from the table.
        super(StubBroker, self).__init__(middleware)
        self.fail_fast_default = fail_fast_default
        self._workers: list[Worker] = []

    @cached_property
    def _deliveries(self) -> "Deliveries":
        from actors.outbox.testing.deliveries import Deliveries  # noqa: PLC0415 – it imports the models

        return Deliveries()

    @property
    def dead_letters_by_queue(self) -> defaultdict[str, list[MessageProxy]]:  # type: ignore[override]
        """The dead letters of the declared queues, as they are in the table now."""
        found = defaultdict(list)
        for letter in self._deliveries.dead_letters(self._rows()):
            found[letter.queue_name].append(letter)
        return found

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, and with it its delay queue: the rows that are not due yet. No consumer is needed for it."""
        name = q_name(queue_name)
        if name not in self.queues:
            self.emit_before("declare_queue", name)
            self.queues |= {each: RowQueue(each) for each in (name, dq_name(name))}
            self.emit_after("declare_queue", name)

    def get_declared_queues(self) -> set[str]:
        """Return the names of the declared queues, without delay queues."""
        return {q_name(name) for name in self.queues}

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        """Return a consumer of a queue's rows.

        Raises:
            QueueNotFound: the queue was never declared.
        """
        from actors.outbox.testing.deliveries import RowConsumer  # noqa: PLC0415 – it imports the models

        return RowConsumer(self._deliveries, self._declared(queue_name).name, prefetch, timeout)

    def flush(self, queue_name: str) -> None:
        """Delete the messages of a queue, or of a delay queue, that no worker is running.

        Raises:
            QueueNotFound: the queue was never declared.
        """
        self._deliveries.droppable(self._declared(queue_name).unfinished()).delete()

    def flush_all(self) -> None:
        """Delete the messages and the dead letters of all declared queues, but those that a worker is running."""
        self._deliveries.droppable(self._rows()).delete()

    def join(self, queue_name: str, *, timeout: int | None = None, fail_fast: bool | None = None) -> None:
        """Return once all messages of a queue have run, with those that they send to it, delayed ones and retries.

        The threads of a started worker run them. Where there is none, and inside a test case's transaction, which
        other threads cannot see, they run here, in the caller's thread and on its connection. Nothing waits for a
        delay: once no message is due, the one that falls due next is.

        Args:
            queue_name: the queue's name.
            timeout: the most milliseconds to take, looked at between messages; None for no limit.
            fail_fast: whether to raise the error of a dead letter of this queue; None for `fail_fast_default`.

        Raises:
            QueueNotFound: the queue was never declared.
            QueueJoinTimeout: messages are left after `timeout`.
            OutboxError: the caller has a transaction open, other than a test case's.
            BaseException: with `fail_fast`, the error of the first dead letter of this queue.
        """
        name = q_name(self._declared(queue_name).name)
        require_no_open_block()
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        if is_in_test_case() or not any(name in worker.consumers for worker in self._workers):
            self._deliveries.run_here(self, name, deadline)
        else:
            self._deliveries.wait_until_done(name, deadline)
        letters = self.dead_letters_by_queue[name]
        if letters and (self.fail_fast_default if fail_fast is None else fail_fast):
            error = error_of(letters[0])
            assert error is not None
            raise error

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks of a signal, none of which may close the connection of a test case."""
        if signal == "worker_boot":
            self._workers.append(args[0])
        with keep_test_connections():
            super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks of a signal, as `emit_before` does."""
        with keep_test_connections():
            super().emit_after(signal, *args, **kwargs)
        if signal == "worker_shutdown":
            # Dramatiq leaves its hooks, by which a queue that is declared later would be consumed for it.
            self.middleware = without_worker(self.middleware, args[0])
            self._workers = [each for each in self._workers if each is not args[0]]

    def _declared(self, queue_name: str) -> RowQueue:
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        queue: RowQueue = self.queues[queue_name]
        return queue

    def _rows(self) -> "OutboxMessageQuerySet":
        from actors.outbox.models import OutboxMessage  # noqa: PLC0415 – as above

        return OutboxMessage.objects.filter(queue__in=self.get_declared_queues())
