"""The queues in RabbitMQ: their arguments, and their declaration, each after its dead-letter queue.

Every argument whose default differs between RabbitMQ 3.10 and 4.x is given explicitly, so that both behave alike.
Arguments are final from the first deploy on, because RabbitMQ refuses to change an existing queue. The setting
`OUTBOX_QUEUE_TYPE` picks the type: `quorum`, or `classic` for a node that has no quorum queues or no disk to spare.

Guarantee: a queue that RabbitMQ refuses to declare affects no other queue, is logged once with a hint about what to do,
and is declared again at intervals, so that an operator who repairs it need not restart anything.
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
# Deliveries of one message. Only a backstop: a consumer that closes counts as a delivery of every message it had
# prefetched, so a low limit would dead-letter healthy messages after a few restarts of their workers.
DELIVERY_LIMIT = 1_000
# RabbitMQ 4.x deletes messages beyond its default of 20 deliveries; -1 means unlimited on 4.x, but at once on 3.10.
DEAD_LETTER_DELIVERY_LIMIT = 1_000_000


def dead_letter_queue(queue_name: str) -> str:
    """Return the name of the queue for the dead letters of `queue_name`."""
    return xq_name(queue_name)


def work_queue_arguments(queue_name: str) -> dict[str, Any]:
    """Return the arguments of a queue that workers consume.

    At-least-once dead-lettering needs `reject-publish`: without it RabbitMQ silently falls back to at-most-once.

    A classic queue lacks: copies on other nodes; a delivery limit, so that a poison message is given up by its count of
    starts alone; at-least-once dead-lettering, so that a node that dies may lose a dead letter between the two queues.
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


class Declaration:
    """The declaration of one queue, on a channel of its own: a refusal closes only that channel."""

    def __init__(self, connection: Any, queue: str) -> None:
        self.queue = queue
        self.is_done = False
        self.refusal: str | None = None
        self._channel = connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_close_callback(self._on_close)

    @property
    def is_settled(self) -> bool:
        return self.is_done or self.refusal is not None

    def _on_open(self, channel: Any) -> None:
        try:
            # First, because RabbitMQ holds back dead letters whose queue does not exist.
            dead_letters = dead_letter_queue(self.queue)
            self._declare(dead_letters, dead_letter_queue_arguments(), _do_nothing)
            self._declare(self.queue, work_queue_arguments(self.queue), self._on_declared)
        except (AMQPError, ValueError) as error:
            self.refusal = f"{type(error).__name__}: {error}"
            channel.close()

    def _declare(self, queue: str, arguments: dict[str, Any], callback: Callable[[Any], None]) -> None:
        self._channel.queue_declare(queue, durable=True, arguments=arguments, callback=callback)

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
        self._begun_at: dict[str, float] = {}
        self._logged: dict[str, str] = {}

    def get(self, connection: Any, queue: str) -> Declaration:
        """Return the declaration of `queue`; begin it if there is none, or a refused one is due again."""
        known = self._by_queue.get(queue)
        if known is None or (known.refusal is not None and self._is_due_again(queue)):
            known = self._by_queue[queue] = Declaration(connection, queue)
            self._begun_at[queue] = self._clock()
        return known

    def forget(self, queue: str) -> None:
        """Forget a queue's declaration, so that it is declared again before the next message to it."""
        self._by_queue.pop(queue, None)

    def forget_all(self) -> None:
        self._by_queue.clear()

    def log_refusal(self, declaration: Declaration) -> None:
        """Log a refusal, once for as long as its reason stays the same."""
        queue, refusal = declaration.queue, declaration.refusal
        if refusal is None:
            self._logged.pop(queue, None)
        elif self._logged.get(queue) != refusal:
            self._logged[queue] = refusal
            logger.error("queue refused %s", explain_refusal(queue, refusal))

    def _is_due_again(self, queue: str) -> bool:
        return self._clock() >= self._begun_at[queue] + AGAIN_AFTER_SECONDS


def declare(channel: Any, queue: str) -> None:
    """Declare a queue and its dead-letter queue over a `BlockingChannel`; idempotent.

    Raises:
        ChannelClosedByBroker: RabbitMQ refuses, and has closed the channel.
        AMQPError: the connection is lost.
    """
    # First, because RabbitMQ holds back dead letters whose queue does not exist.
    dead_letters = dead_letter_queue(queue)
    channel.queue_declare(dead_letters, durable=True, arguments=dead_letter_queue_arguments())
    channel.queue_declare(queue, durable=True, arguments=work_queue_arguments(queue))


def count_ready(connection: Any, queue: str) -> int:
    """Return how many messages in a queue are ready: not delivered to a consumer. A missing queue is declared, empty.

    Raises:
        ChannelClosedByBroker: RabbitMQ refuses to count or to declare.
        AMQPError: the connection is lost.
    """
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)
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


def _do_nothing(_frame: Any) -> None:
    pass
