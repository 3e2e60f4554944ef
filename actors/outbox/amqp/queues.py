"""How queues are declared: final from the first deploy on, because RabbitMQ refuses to change an existing queue.

Everything that RabbitMQ 3.10 and 4.x would choose differently is written out, so that both serve alike. The setting
`OUTBOX_QUEUE_TYPE` picks the kind: `quorum`, or `classic` for a node that has no quorum queues or no disk to spare.
"""

from typing import Any

from dramatiq.common import xq_name

from actors.outbox.conf import CLASSIC, QUORUM, queue_type

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

    What a classic queue does not have: copies on other nodes; a delivery limit, so that what kills its worker is given
    up by its starts alone; dead-lettering at least once, so that a node that dies may lose a dead letter between the
    two queues. Its row is still owed then: repair publishes it again, and it is judged again.
    """
    dead_letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letter_queue(queue_name)}
    if queue_type() == CLASSIC:
        return {"x-queue-type": CLASSIC, **dead_letters}
    return {
        "x-queue-type": QUORUM,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-overflow": "reject-publish",
        **dead_letters,
        "x-dead-letter-strategy": "at-least-once",
    }


def dead_letter_queue_arguments() -> dict[str, Any]:
    """Return the arguments of a queue of dead letters: nothing expires, nothing moves on."""
    if queue_type() == CLASSIC:
        return {"x-queue-type": CLASSIC}
    return {"x-queue-type": QUORUM, "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT}
