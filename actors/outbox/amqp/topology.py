"""The queues in RabbitMQ: their arguments and declaration. A queue is declared after its dead-letter queue.

Every argument whose default differs between RabbitMQ 3.10 and 4.x is given explicitly, so that both behave alike.
Arguments are final from the first deploy on, because RabbitMQ refuses to change an existing queue. The setting
`OUTBOX_QUEUE_TYPE` picks the type: `quorum`, or `classic` for a node that has no quorum queues or no disk to spare.
`OUTBOX_QUEUE_PREFIX` begins all names in RabbitMQ; elsewhere queues are named without it.

A user of RabbitMQ that may not configure queues uses those that an operator has declared: they are declared passively,
which checks that they exist, and not their arguments.

Guarantee: a queue that RabbitMQ refuses to declare affects no other queue, is logged once with a hint about what to do,
and is declared again at intervals: once an operator has repaired it, no process needs a restart.
"""

import json
import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from dramatiq.common import xq_name
from pika.exceptions import AMQPError, ChannelClosedByBroker

from actors.outbox.conf import CLASSIC, QUORUM, conf

logger = logging.getLogger(__name__)

AGAIN_AFTER_SECONDS = 5.0
ACCESS_REFUSED = 403
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
    """The declaration of one queue, on a separate channel: a refusal closes only that channel.

    If the user may not configure the queue, a second channel declares it passively.
    """

    def __init__(self, connection: Any, queue: str, *, again_at: float) -> None:
        self.queue = queue
        self.again_at = again_at
        """When the next declaration is due, if this one is refused."""
        self.is_done = False
        self.refusal: str | None = None
        self._connection = connection
        self._lacking_right = ""
        self._open()

    @property
    def is_settled(self) -> bool:
        return self.is_done or self.refusal is not None

    def _open(self) -> None:
        self._channel = self._connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_close_callback(self._on_close)

    def _on_open(self, channel: Any) -> None:
        try:
            for options in declarations_of(self.queue, passive=bool(self._lacking_right)):
                answered = self._on_declared if options["queue"] == name_in_rabbitmq(self.queue) else None
                channel.queue_declare(**options, callback=answered)
        except (AMQPError, ValueError) as error:
            self.refusal = f"{type(error).__name__}: {error}"
            channel.close()

    def _on_declared(self, _frame: Any) -> None:
        self.is_done = True
        if self._lacking_right:
            log_unchecked(self.queue, self._lacking_right)
        self._channel.close()

    def _on_close(self, _channel: Any, error: BaseException) -> None:
        if self.is_settled:
            return
        refusal = str(getattr(error, "reply_text", error)) or type(error).__name__
        if may_not_configure(error) and not self._lacking_right:
            self._lacking_right = refusal
            self._open()
        else:
            self.refusal = refusal


class Declarations:
    """The queues' declarations, over the current connection and those that follow it."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_queue: dict[str, Declaration] = {}

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


def declare(connection: Any, queue: str) -> None:
    """Declare a queue and its dead-letter queue over a `BlockingConnection`; idempotent.

    Raises:
        ChannelClosedByBroker: RabbitMQ refuses; or the user may not configure a queue that does not exist.
        AMQPError: the connection is lost.
    """
    try:
        _declare(connection, queue)
    except ChannelClosedByBroker as error:
        if not may_not_configure(error):
            raise
        _declare(connection, queue, passive=True)
        log_unchecked(queue, error.reply_text)


def _declare(connection: Any, queue: str, *, passive: bool = False) -> None:
    with connection.channel() as channel:
        for options in declarations_of(queue, passive=passive):
            channel.queue_declare(**options)


def declarations_of(queue: str, *, passive: bool) -> list[dict[str, Any]]:
    """Return pika's arguments for the declarations of a dead-letter queue and of its queue."""
    if passive:
        return [{"queue": name, "passive": True} for name in arguments_by_queue(queue)]
    named = arguments_by_queue(queue).items()
    return [{"queue": name, "durable": True, "arguments": arguments} for name, arguments in named]


def may_not_configure(error: BaseException) -> bool:
    """Return whether RabbitMQ refused a declaration for want of a right, and not because of the queue."""
    return isinstance(error, ChannelClosedByBroker) and error.reply_code == ACCESS_REFUSED


@cache
def log_unchecked(queue: str, refusal: str) -> None:
    """Log, once a process, that a queue is used although its arguments could not be checked."""
    logger.warning(
        "queue=%s is used as it is, its arguments cannot be checked reason=%r hint='give the user the right to "
        "configure it, or compare: %s'",
        name_in_rabbitmq(queue),
        refusal,
        json.dumps(arguments_by_queue(queue)),
    )


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
    declare(connection, queue)
    logger.info("queue declared queue=%s: RabbitMQ did not have it", queue)
    return 0


def explain_refusal(queue: str, refusal: str) -> str:
    """Return log fields that say which queue RabbitMQ refused to declare, over which argument, and what to do."""
    if missing := re.search(r"no queue '([^']+)'", refusal):
        # Only a user who may not declare it meets this for long.
        name = missing[1]
        arguments = json.dumps(arguments_by_queue(queue).get(name, {}))
        return (
            f"queue={name} reason={refusal!r} hint='declare it, durable, with the arguments {arguments}; or give the "
            "user of RABBITMQ_URL the right to configure it; its messages wait in the outbox meanwhile'"
        )
    differing = re.search(r"inequivalent arg '([^']+)' for queue '([^']+)'", refusal)
    if differing is None:
        return f"queue={queue} reason={refusal!r} hint='its messages wait in the outbox until it can be used'"
    argument, name = differing.groups()
    return (
        f"queue={name} argument={argument} reason={refusal!r} hint='it exists with other arguments, which RabbitMQ "
        "never changes: move what it holds and delete it, or give the actors a queue of another name; its messages "
        "wait in the outbox meanwhile'"
    )
