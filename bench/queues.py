"""The queues between web and workers, as an onlooker: what they hold, message by message, and how they are emptied."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import pika
from pika.exceptions import ChannelClosedByBroker
from redis import Redis

INACTIVITY_SECONDS = 1.0
# After the last expected message: one that is there as well comes at once.
ONE_TOO_MANY_SECONDS = 0.1


class Queue(Protocol):
    """A queue of messages that tell of new tasks."""

    def count(self) -> int:
        """Return how many messages it has."""

    def take(self, expected: int) -> list[int]:
        """Take out all messages, of which there should be `expected`; return the ids of the tasks that they tell of."""

    def empty(self) -> None:
        """Forget all messages."""


@dataclass(frozen=True, kw_only=True)
class RabbitmqQueue:
    """A queue of RabbitMQ."""

    url: str

    name: str

    task_id: Callable[[Any], int]
    """Finds the task's id in a decoded body."""

    def count(self) -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(self.name, passive=True).method.message_count)

    def take(self, expected: int) -> list[int]:
        found = []
        with self.channel() as channel:
            for _method, _properties, body in channel.consume(
                self.name, auto_ack=True, inactivity_timeout=INACTIVITY_SECONDS
            ):
                if body is None:
                    break
                found.append(self.task_id(json.loads(body)))
                if len(found) == expected:
                    channel.connection.process_data_events(ONE_TOO_MANY_SECONDS)
                    if not channel.get_waiting_message_count():
                        break
            channel.cancel()
        return found

    def empty(self) -> None:
        # Theirs are declared by the first who sends.
        with suppress(ChannelClosedByBroker), self.channel() as channel:
            channel.queue_purge(self.name)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            connection.close()


@dataclass(frozen=True, kw_only=True)
class RedisQueue:
    """Celery's queue in Redis, a list."""

    url: str

    name: str = "celery"

    def count(self) -> int:
        with self._redis() as redis:
            return int(redis.llen(self.name))

    def take(self, expected: int) -> list[int]:
        with self._redis() as redis:
            messages: list[bytes] = redis.lrange(self.name, 0, -1)
            redis.delete(self.name)
        bodies = (json.loads(base64.b64decode(json.loads(message)["body"])) for message in messages)
        return [int(body[0][0]) for body in bodies]

    def empty(self) -> None:
        """Forget messages and results, but for what senders believe to have declared."""
        with self._redis() as redis:
            keys = [key for key in redis.scan_iter(count=1_000) if not key.startswith(b"_kombu")]
            for start in range(0, len(keys), 1_000):
                redis.delete(*keys[start : start + 1_000])

    def _redis(self) -> Redis:
        return Redis.from_url(self.url)


def of_celery(body: Any) -> int:
    return int(body[0][0])


def of_dramatiq(body: Any) -> int:
    return int(body["args"][0])
