"""A worker without threads or RabbitMQ: runs one delivery at a time, in the test's own thread, on Dramatiq's path."""

from dataclasses import dataclass, field
from queue import Queue

import dramatiq
from dramatiq import Broker, Message, MessageProxy
from dramatiq.worker import WorkerThread

from actors.outbox import envelope
from actors.outbox.middleware import OutboxMiddleware
from actors.outbox.models import OutboxMessage
from actors.outbox.worker.state import WorkerState

QUEUE = "tests"


@dataclass
class FakeConsumer:
    """Records how each message ended, and calls the hooks that Dramatiq calls then."""

    broker: Broker = field(default_factory=dramatiq.get_broker)
    ends: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def post_process_message(self, message: MessageProxy) -> None:
        end = "nack" if message.failed else "ack"
        self.broker.emit_before(end, message)
        self.ends.append(end)
        self.broker.emit_after(end, message)
        if message._exception is not None:
            self.errors.append(message._exception)


@dataclass
class InlineWorker:
    """Runs rows' messages in actors, as a relay, RabbitMQ and a worker would together."""

    consumer: FakeConsumer

    worker: WorkerThread

    def deliver(self, row: OutboxMessage, *, redelivered: bool = False) -> str:
        """Run a copy of the row's message and return how it ended: `ack` or `nack`."""
        return self.deliver_copy(envelope.to_amqp(row).body, redelivered=redelivered)

    def deliver_copy(self, body: bytes, *, redelivered: bool = False) -> str:
        """Run a copy that was made before and return how it ended."""
        proxy = MessageProxy(Message.decode(body))
        proxy.redelivered = redelivered  # type: ignore[attr-defined]
        self.worker.work_queue.put(None)  # type: ignore[arg-type]  # process_message says that it is done with one
        self.worker.process_message(proxy)
        return self.consumer.ends[-1]

    def stop(self) -> None:
        """Have the worker's executions end their waits for the database, as when a worker stops."""
        self.state.stopping.set()

    def start(self) -> None:
        self.state.stopping.clear()

    @property
    def state(self) -> WorkerState:
        return outbox_middleware_of(self.worker.broker).engine.state

    def deliver_all(self) -> None:
        """Run all pending messages, and those that they send, until none is left."""
        while row := OutboxMessage.objects.filter(state="pending").order_by("pk").first():
            self.deliver(row)


def make_inline_worker(*queues: str) -> InlineWorker:
    """Return a worker for `queues`, and for those of tests and of the activity log."""
    consumer = FakeConsumer()
    worker = WorkerThread(
        broker=dramatiq.get_broker(),
        consumers=dict.fromkeys((QUEUE, "activity", "bulk", *queues), consumer),  # type: ignore[arg-type]
        work_queue=Queue(),  # type: ignore[arg-type]  # in order, for one thread
        worker_timeout=1,
    )
    return InlineWorker(consumer=consumer, worker=worker)


def outbox_middleware_of(broker: Broker) -> OutboxMiddleware:
    """Return a broker's outbox middleware."""
    [middleware] = [one for one in broker.middleware if isinstance(one, OutboxMiddleware)]
    return middleware
