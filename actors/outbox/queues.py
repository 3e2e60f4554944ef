"""How queues are declared: final from the first deploy on, because RabbitMQ refuses to change an existing queue.

Everything that RabbitMQ 3.10 and 4.x would choose differently is written out, so that both serve alike.
"""

from typing import Any

from dramatiq.common import xq_name

# Deliveries, of one message. A backstop, not a judgement: every closed consumer counts for all that it had
# prefetched, so a low limit condemns healthy messages after a few restarts of their workers.
DELIVERY_LIMIT = 1_000
# RabbitMQ 4.x deletes what exceeds its default of 20; -1 means unlimited to 4.x and at once to 3.10.
DEAD_LETTER_DELIVERY_LIMIT = 1_000_000


def dead_letter_queue(queue_name: str) -> str:
    """Return the name of the queue that takes the dead letters of `queue_name`."""
    return xq_name(queue_name)


def work_queue_arguments(queue_name: str) -> dict[str, Any]:
    """Return the arguments of a queue that workers consume.

    At-least-once dead-lettering needs `reject-publish`: without it RabbitMQ falls back to at-most-once, in silence.
    """
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letter_queue(queue_name),
        "x-dead-letter-strategy": "at-least-once",
    }


def dead_letter_queue_arguments() -> dict[str, Any]:
    """Return the arguments of a queue of dead letters: nothing expires, nothing moves on."""
    return {"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT}
