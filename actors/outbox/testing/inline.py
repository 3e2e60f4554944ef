"""A worker in the caller's own thread: runs one delivery at a time, on Dramatiq's path."""

from collections.abc import Iterable
from queue import PriorityQueue
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import Broker, Message, MessageProxy
from dramatiq.worker import ConsumerThread, WorkerThread

from actors.outbox.exceptions import OutboxError
from actors.outbox.testing.connections import keep_test_connections, require_no_open_block
from actors.outbox.worker.dramatiq_internals import error_of

if TYPE_CHECKING:
    from actors.outbox.models import OutboxMessage


class InlineWorker(dramatiq.Consumer):
    """Runs rows' messages as relay, RabbitMQ and a worker would together, in the caller's thread and connection.

    It is the consumer of every queue, too, and remembers how messages ended.
    """

    def __init__(self, broker: Broker | None = None) -> None:
        """Make a worker of all queues.

        Args:
            broker: by default Dramatiq's global one.
        """
        self.broker = broker or dramatiq.get_broker()
        self.ends: list[str] = []
        """`ack` or `nack`, for each delivery that has ended."""
        self.errors: list[BaseException] = []
        """The errors of those that failed, in this order; a failed attempt that is retried is among them."""
        self.worker = WorkerThread(
            broker=self.broker, consumers=_ConsumerThreads(self), work_queue=PriorityQueue(), worker_timeout=1
        )

    def deliver(self, row: "OutboxMessage", *, redelivered: bool = False) -> str:
        """Run a copy of the row's message, due or not, and return how it ended: `ack` or `nack`.

        Args:
            row: as it was when the copy was published; it may be settled by now.
            redelivered: whether RabbitMQ has delivered the copy before.

        Raises:
            OutboxError: the caller has a transaction open.
            DecodeError: the row's body is no message.
        """
        from actors.outbox import envelope  # noqa: PLC0415 – see the package

        return self.deliver_copy(envelope.to_amqp(row).body, redelivered=redelivered)

    def deliver_copy(self, body: bytes, *, redelivered: bool = False) -> str:
        """Run a copy that was published before, as `deliver` does."""
        message = MessageProxy(Message.decode(body))
        message.redelivered = redelivered  # type: ignore[attr-defined]
        return self.run(message)

    def deliver_all(self) -> None:
        """Run all pending messages of every queue, and those that they send; scheduled ones stay, due or not.

        Raises:
            OutboxError: the caller has a transaction open, or a message has ended without an outcome.
        """
        from actors.outbox.models import OutboxMessage, State  # noqa: PLC0415 – see the package

        before = None
        while row := OutboxMessage.objects.filter(state=State.PENDING).order_by("pk").first():
            if before == (before := (row.pk, row.attempt)):
                raise self.no_outcome(row)
            self.deliver(row)

    def run(self, message: MessageProxy) -> str:
        """Run a message that was received, and return how it ended: `ack` or `nack`.

        Raises:
            OutboxError: the caller has a transaction open.
        """
        require_no_open_block()
        with keep_test_connections():
            self.worker.consumers[message.queue_name].handle_message(message)
            # Empty if the consumer has rejected it: there is no such actor.
            while not self.worker.work_queue.empty():
                self.worker.process_message(self.worker.work_queue.get().message)
        return self.ends[-1]

    def no_outcome(self, message: Any) -> OutboxError:
        """Return the error to raise for a message that would be run for ever."""
        error = OutboxError(f"{message} has ended without an outcome: its row is as before. See the log.")
        error.__cause__ = self.errors[-1] if self.errors else None
        return error

    def ack(self, message: MessageProxy) -> None:
        self._note("ack", message)

    def nack(self, message: MessageProxy) -> None:
        """Make a dead letter of the message, as RabbitMQ and the collector of dead letters do."""
        give_up(message)
        self._note("nack", message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Do nothing: its row shows that a message is unsettled."""

    def _note(self, end: str, message: MessageProxy) -> None:
        self.ends.append(end)
        if (error := error_of(message)) is not None:
            self.errors.append(error)


class _ConsumerThreads(dict[str, ConsumerThread]):
    """Dramatiq's threads by queue, each made when it is asked for. None is started: their methods run here."""

    def __init__(self, worker: InlineWorker) -> None:
        super().__init__()
        self._worker = worker

    def __missing__(self, queue: str) -> ConsumerThread:
        work_queue = self._worker.worker.work_queue
        thread = ConsumerThread(
            broker=self._worker.broker, queue_name=queue, prefetch=1, work_queue=work_queue, worker_timeout=1
        )
        thread.consumer = self._worker
        self[queue] = thread
        return thread


def give_up(message: MessageProxy) -> None:
    """Make a dead letter of a rejected message, as RabbitMQ and the collector do, unless its row is that already."""
    from actors.outbox.dead_letters.collector import DeadLetter, write_down  # noqa: PLC0415 – see the package
    from actors.outbox.worker.consumer import DEAD  # noqa: PLC0415

    if getattr(message, "outcome", "") == DEAD:
        return
    death = {"reason": "rejected", "queue": message.queue_name, "count": 1}
    write_down(DeadLetter(queue=message.queue_name, body=message.encode(), headers={"x-death": [death]}))
