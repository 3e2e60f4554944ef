"""The queues in RabbitMQ: their arguments and declaration. A queue is declared after its dead-letter queue.

Every argument whose default differs between RabbitMQ 3.10 and 4.x is given explicitly, so that both behave alike.
Arguments are final from the first deploy on, because RabbitMQ refuses to change an existing queue. The setting
`OUTBOX_QUEUE_TYPE` picks the type: `quorum`, or `classic` for a node that has no quorum queues or no disk to spare.
`OUTBOX_QUEUE_PREFIX` begins all names in RabbitMQ; elsewhere queues are named without it.

Guarantee: a queue that RabbitMQ refuses to declare affects no other queue, is logged once with a hint about what to do,
and is declared again at intervals: once an operator has repaired it, no process needs a restart.
"""

import logging
import re
from collections.abc import Callable
from typing import Any

from dramatiq.common import xq_name
from pika.exceptions import AMQPError, ChannelClosedByBroker

from actors.outbox.conf import CLASSIC, QUORUM, conf

logger = logging.getLogger(__name__)

AGAIN_AFTER_SECONDS = 5.0
NOT_FOUND = 404
# Maximum deliveries of one message, a backstop: when a consumer closes, each message that it had prefetched counts as
# delivered, so a low limit would dead-letter healthy messages after a few restarts of their workers.
DELIVERY_LIMIT = 1_000
# RabbitMQ 4.x deletes messages beyond its default of 20 deliveries; -1 means unlimited on 4.x, but at once on 3.10.
DEAD_LETTER_DELIVERY_LIMIT = 1_000_000
SHARED_HINT = (
    "hint='give one of both installations a vhost of its own (RABBITMQ_URL), or a prefix for its queues (QUEUE_PREFIX)"
    "; purge the queue if the other database is gone'"
)


def name_in_rabbitmq(queue_name: str) -> str:
    """Return RabbitMQ's name for a queue: with the installation's prefix. Actors and rows name queues without it."""
    return f"{conf.OUTBOX_QUEUE_PREFIX}{queue_name}"


def dead_letter_queue(queue_name: str) -> str:
    """Return RabbitMQ's name for the queue of the dead letters of `queue_name`."""
    return xq_name(name_in_rabbitmq(queue_name))


def work_queue_arguments(queue_name: str) -> dict[str, Any]:
    """Return the arguments of a queue that workers consume.

    At-least-once dead-lettering needs `reject-publish`: without it RabbitMQ silently falls back to at-most-once.

    A classic queue lacks: replicas on other nodes; a delivery limit, so only the count of starts gives up a poison
    message; at-least-once dead-lettering, so a node that dies may lose a dead letter between the two queues.
    The message's row is still unsettled then: repair publishes it again, and it is dead-lettered again.
    """
    dead_letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letter_queue(queue_name)}
    if conf.OUTBOX_QUEUE_TYPE == CLASSIC:
        return {"x-queue-type": CLASSIC, **dead_letters}
    return {
        "x-queue-type": QUORUM,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-overflow": "reject-publish",
        **dead_letters,
        "x-dead-letter-strategy": "at-least-once",
    }


def dead_letter_queue_arguments() -> dict[str, Any]:
    """Return the arguments of a dead-letter queue: its messages neither expire nor move on."""
    if conf.OUTBOX_QUEUE_TYPE == CLASSIC:
        return {"x-queue-type": CLASSIC}
    return {"x-queue-type": QUORUM, "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT}


def arguments_by_queue(queue_name: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of a dead-letter queue and of its queue, by RabbitMQ's names, as they are declared."""
    # In the other order RabbitMQ would hold back dead letters, for lack of their queue.
    return {
        dead_letter_queue(queue_name): dead_letter_queue_arguments(),
        name_in_rabbitmq(queue_name): work_queue_arguments(queue_name),
    }


class Declaration:
    """The declaration of one queue, on a separate channel: a refusal closes only that channel."""

    def __init__(self, connection: Any, queue: str, *, again_at: float) -> None:
        self.queue = queue
        self.again_at = again_at
        """When the next declaration is due, if this one is refused."""
        self.is_done = False
        self.refusal: str | None = None
        self._channel = connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_close_callback(self._on_close)

    @property
    def is_settled(self) -> bool:
        return self.is_done or self.refusal is not None

    def _on_open(self, channel: Any) -> None:
        try:
            for name, arguments in arguments_by_queue(self.queue).items():
                answered = self._on_declared if name == name_in_rabbitmq(self.queue) else None
                channel.queue_declare(name, durable=True, arguments=arguments, callback=answered)
        except (AMQPError, ValueError) as error:
            self.refusal = f"{type(error).__name__}: {error}"
            channel.close()

    def _on_declared(self, _frame: Any) -> None:
        self.is_done = True
        self._channel.close()

    def _on_close(self, _channel: Any, error: BaseException) -> None:
        if not self.is_settled:
            self.refusal = str(getattr(error, "reply_text", error)) or type(error).__name__


class Declarations:
    """The queues' declarations, over the current connection and those that follow it."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_queue: dict[str, Declaration] = {}
        self._logged: dict[str, str] = {}

    def get(self, connection: Any, queue: str) -> Declaration:
        """Return the declaration of `queue`; begin it if there is none, or a refused one is due again."""
        known, now = self._by_queue.get(queue), self._clock()
        if known is None or (known.refusal is not None and now >= known.again_at):
            known = self._by_queue[queue] = Declaration(connection, queue, again_at=now + AGAIN_AFTER_SECONDS)
        return known

    def forget(self, queue: str) -> None:
        """Forget a queue's declaration: the queue is declared again before the next message to it."""
        self._by_queue.pop(queue, None)

    def forget_all(self) -> None:
        self._by_queue.clear()

    def log_refusal(self, declaration: Declaration) -> None:
        """Log a refusal, once as long as its reason stays the same."""
        queue, refusal = declaration.queue, declaration.refusal
        if refusal is None:
            self._logged.pop(queue, None)
        elif self._logged.get(queue) != refusal:
            self._logged[queue] = refusal
            logger.error("queue refused %s", explain_refusal(queue, refusal))


def declare(channel: Any, queue: str) -> None:
    """Declare a queue and its dead-letter queue over a `BlockingChannel`; idempotent.

    Raises:
        ChannelClosedByBroker: RabbitMQ refuses, and has closed the channel.
        AMQPError: the connection is lost.
    """
    for name, arguments in arguments_by_queue(queue).items():
        channel.queue_declare(name, durable=True, arguments=arguments)


def count_ready(connection: Any, queue: str) -> int:
    """Return how many messages in a queue are ready: not delivered to a consumer. A missing queue is declared, empty.

    Raises:
        ChannelClosedByBroker: RabbitMQ refuses to count or to declare.
        AMQPError: the connection is lost.
    """
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(name_in_rabbitmq(queue), passive=True).method.message_count)
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
    with connection.channel() as channel:
        declare(channel, queue)
    logger.info("queue declared queue=%s: RabbitMQ did not have it", queue)
    return 0


def explain_refusal(queue: str, refusal: str) -> str:
    """Return log fields that say which queue RabbitMQ refused to declare, over which argument, and what to do."""
    differing = re.search(r"inequivalent arg '([^']+)' for queue '([^']+)'", refusal)
    if differing is None:
        return f"queue={queue} reason={refusal!r} hint='its messages wait in the outbox until it can be declared'"
    argument, name = differing.groups()
    return (
        f"queue={name} argument={argument} reason={refusal!r} hint='it exists with other arguments, which RabbitMQ "
        "never changes: move what it holds and delete it, or give the actors a queue of another name; its messages "
        "wait in the outbox meanwhile'"
    )
