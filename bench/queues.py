"""The queues between web and workers, as an onlooker: what they hold, message by message, and how they are emptied."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import NotFound
from kombu.connection import Connection
from kombu.entity import Queue as Declared

# After the last expected message: one that is there as well comes at once.
LATE_SECONDS, ONE_TOO_MANY_SECONDS = 1.0, 0.1


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue of messages about new tasks, in RabbitMQ or Redis."""

    url: str
    name: str

    def count(self) -> int:
        """Return how many messages it has."""
        with self._open() as queue:
            return int(queue.qsize())

    def take(self, expected: int) -> list[int]:
        """Take out all messages, of which there should be `expected`; return the ids of their tasks."""
        found: list[int] = []
        with self._open() as queue, suppress(queue.Empty):
            while True:
                patience = LATE_SECONDS if len(found) < expected else ONE_TOO_MANY_SECONDS
                found.append(_task_of(json.loads(queue.get(timeout=patience).body)))
        return found

    def empty(self) -> None:
        """Forget all messages."""
        # A peer's queue is declared by the first process that sends.
        with suppress(NotFound), self._open() as queue:
            queue.clear()

    @contextmanager
    def _open(self) -> Iterator[Any]:
        # Who uses the queue declares it, with arguments of its own.
        declared = Declared(self.name, no_declare=True)
        with Connection(self.url) as connection:
            yield connection.SimpleQueue(declared, no_ack=True)


def _task_of(body: Any) -> int:
    """Return the task's id, which is the first argument: of a Dramatiq actor, or of a Celery task."""
    arguments = body["args"] if isinstance(body, dict) else body[0]
    return int(arguments[0])
