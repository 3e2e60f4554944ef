"""The outbox's brokers, as Dramatiq's tests use its own."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from dramatiq import Broker, Message, MessageProxy, Middleware, Worker
from dramatiq.errors import ActorNotFound, QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import AgeLimit, SkipMessage

from actors.outbox.broker import OutboxRabbitmqBroker, OutboxStubBroker
from actors.outbox.models import OutboxMessage, State

POLL_SECONDS = 0.01
URL = os.environ["RABBITMQ_URL"]
STUB_IS_TESTED = os.environ["COMPAT_STUB"] == "OutboxStubBroker"
# Tests add CurrentMessage themselves, and no master is watched.
LEFT_OUT = {"dramatiq.middleware.CurrentMessage", "actors.parent_watch.EndWithMaster"}


def make_middleware() -> list[Middleware]:
    """Return the service's middleware; AgeLimit comes first, as in Dramatiq's own list."""
    own = [import_string(name)() for name in settings.DRAMATIQ_MIDDLEWARE if name not in LEFT_OUT]
    return sorted(own, key=lambda each: not isinstance(each, AgeLimit))


class Observer(Middleware):
    """Remembers how messages failed, and which workers run."""

    def __init__(self) -> None:
        # Not the errors themselves: a test looks whether they are freed.
        self.errors: dict[str, Callable[[], BaseException]] = {}
        self.workers: list[Worker] = []

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self.workers.append(worker)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is not None:
            self.errors[message.message_id] = partial(type(exception), *exception.args)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self.errors[message.message_id] = SkipMessage


class JoinableRabbitmqBroker(OutboxRabbitmqBroker):
    """The broker over RabbitMQ and PostgreSQL, with what Dramatiq's tests ask of a stub broker."""

    def __init__(self) -> None:
        self.observer = Observer()
        super().__init__(url=URL, middleware=[*make_middleware(), self.observer])

    def join(self, queue_name: str, *, timeout: int | None = None, fail_fast: bool = True) -> None:  # type: ignore[override]
        """Wait until no message of a queue is left but dead ones, of which the first is raised with `fail_fast`."""
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        deadline = time.monotonic() + timeout / 1000 if timeout is not None else None
        while self._is_busy(queue_name):
            if deadline is not None and time.monotonic() > deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(POLL_SECONDS)
        for row in self._dead().filter(queue=queue_name) if fail_fast else ():
            raise self._error_of(row) from None

    @property
    def dead_letters(self) -> list[Message[Any]]:
        return [Message.decode(bytes(row.body)) for row in self._dead()]

    def _is_busy(self, queue_name: str) -> bool:
        if OutboxMessage.objects.filter(queue=queue_name).exclude(state=State.DEAD).exists():
            return True
        # The row goes with the effect; hooks and the acknowledgement follow.
        return any(worker.work_queue.unfinished_tasks for worker in self.observer.workers)

    def _dead(self) -> Any:
        return OutboxMessage.objects.filter(state=State.DEAD).order_by("pk")

    def _error_of(self, row: OutboxMessage) -> BaseException:
        if row.actor not in self.actors:
            return ActorNotFound(row.actor)
        return self.observer.errors.get(row.message_id, partial(Exception, f"{row.reason}: {row.error}"))()


def make_stub_broker() -> Broker:
    """Return what this run has in place of Dramatiq's StubBroker."""
    return OutboxStubBroker(middleware=make_middleware()) if STUB_IS_TESTED else JoinableRabbitmqBroker()


def make_rabbitmq_broker() -> OutboxRabbitmqBroker:
    return OutboxRabbitmqBroker(url=URL, middleware=make_middleware())
