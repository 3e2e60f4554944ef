"""Show that Dramatiq's RabbitMQ consumer acknowledges another connection's message, so that one vanishes unprocessed.

    python reproduce_foreign_ack.py amqp://guest:guest@127.0.0.1:5672/ [--consumer package.module:ConsumerClass]

Needs dramatiq[rabbitmq] and a RabbitMQ on loopback that may be played with; uses queues of its own and deletes them.
Ends within three minutes. Exit status: 0 nothing vanished, 1 a message vanished, 2 the scene could not be set.
"""

import argparse
import importlib
import ipaddress
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

PREFETCH = 4
os.environ["dramatiq_queue_prefetch"] = str(PREFETCH)  # noqa: SIM112  # read when dramatiq is imported

import dramatiq  # noqa: E402
import pika  # noqa: E402
from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: E402
from dramatiq.worker import Worker  # noqa: E402

DEADLINE_SECONDS = 20.0
FIRST, SECOND = range(PREFETCH), range(PREFETCH, 2 * PREFETCH)


class SceneNotSet(Exception):
    """Raised when something that the scene needs does not happen in time."""


class Scene:
    """One worker, one other consumer of the same queue, and eight messages."""

    def __init__(self, url: str, consumer: type | None) -> None:
        options = {"consumer_class": consumer} if consumer else {}
        self.broker = type("Broker", (RabbitmqBroker,), options)(url=url, middleware=[], confirm_delivery=True)
        self.queue = f"foreign-ack-{uuid.uuid4().hex[:8]}"
        self.processed: list[int] = []
        self.may_finish = threading.Event()
        self.actor = dramatiq.actor(self.process, broker=self.broker, queue_name=self.queue, actor_name=self.queue)
        self.worker = Worker(self.broker, worker_threads=1, worker_timeout=50)
        self.other = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.other.channel()

    def process(self, number: int) -> None:
        self.may_finish.wait(DEADLINE_SECONDS)
        self.processed.append(number)

    def play(self) -> list[int]:
        """Return the messages that were neither processed nor are left in the queue."""
        self.worker.start()
        self.send(FIRST)
        wait_for("the worker takes the first four", lambda: self.in_memory() == PREFETCH - 1)

        first_connection = self.worker.consumers[self.queue].consumer
        self.make_rabbitmq_close(first_connection)
        taken = self.get(PREFETCH)  # RabbitMQ has them again; another worker takes them before this one reconnects
        say(f"connection 1 is closed; requeued, and taken by another consumer: {taken}")
        if sorted(taken) != list(FIRST):
            raise SceneNotSet("the worker reconnected before the other consumer had taken everything")

        self.send(SECOND)
        wait_for("the worker reconnects and takes the next four", lambda: self.in_memory() == 2 * PREFETCH - 1)
        say(f"connection 2 delivers, with tags from 1 again: {list(SECOND)}")

        self.stop_worker_after_its_current_message()
        self.channel.basic_nack(0, multiple=True, requeue=True)
        say(f"the worker has processed {self.processed} (of connection 1) and was stopped cleanly")
        left = self.get(2 * PREFETCH)
        say(f"left in the queue: {sorted(left)}")
        return sorted({*FIRST, *SECOND} - {*self.processed, *left})

    def send(self, numbers: range) -> None:
        for number in numbers:
            self.actor.send(number)

    def in_memory(self) -> int:
        return self.worker.work_queue.qsize()

    def make_rabbitmq_close(self, consumer) -> None:
        # RabbitMQ answers a request that it does not implement by closing the whole connection. Any loss will do.
        consumer.connection.add_callback_threadsafe(lambda: consumer.channel.flow(False))
        wait_for("RabbitMQ closes connection 1", lambda: consumer.connection.is_closed)

    def get(self, count: int) -> list[int]:
        """Take `count` messages, or what there is at the deadline."""
        numbers: list[int] = []
        deadline = time.monotonic() + DEADLINE_SECONDS / 4
        while len(numbers) < count and time.monotonic() < deadline:
            method, _, body = self.channel.basic_get(self.queue)
            if method is None:
                self.other.sleep(0.01)
            else:
                numbers.append(dramatiq.Message.decode(body).args[0])
        return numbers

    def stop_worker_after_its_current_message(self) -> None:
        stopping = threading.Thread(target=self.worker.stop, kwargs={"timeout": int(DEADLINE_SECONDS * 1000)})
        stopping.start()
        wait_for("the worker is told to stop", lambda: not any(thread.running for thread in self.worker.workers))
        self.may_finish.set()
        stopping.join(2 * DEADLINE_SECONDS)

    def clear_up(self) -> None:
        self.may_finish.set()
        self.other.close()
        self.worker.stop(timeout=int(DEADLINE_SECONDS * 1000))
        for queue in (self.queue, f"{self.queue}.DQ", f"{self.queue}.XQ"):
            self.broker.channel.queue_delete(queue)
        self.broker.close()


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SceneNotSet(f"this did not happen in time: {what}")
        time.sleep(0.01)


def say(line: str) -> None:
    print(line, flush=True)


def loopback_url(url: str) -> str:
    host = urlsplit(url).hostname or ""
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise argparse.ArgumentTypeError(f"{host} is not loopback: this loses messages on purpose")
    return url


def consumer_class(path: str) -> type:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", type=loopback_url, help="amqp://user:password@127.0.0.1:port/")
    parser.add_argument(
        "--consumer", type=consumer_class, help="package.module:Class to consume with, instead of its own"
    )
    arguments = parser.parse_args()
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    say(f"dramatiq {dramatiq.__version__}, pika {pika.__version__}, consumer {arguments.consumer or 'of dramatiq'}")
    try:
        scene = Scene(arguments.url, arguments.consumer)
    except (pika.exceptions.AMQPError, OSError) as error:
        say(f"inconclusive: no connection to RabbitMQ: {error!r}")
        return 2
    try:
        lost = scene.play()
    except SceneNotSet as error:
        say(f"inconclusive: {error}")
        return 2
    finally:
        scene.clear_up()
    say(f"VANISHED, never processed: {lost}" if lost else "nothing vanished")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
