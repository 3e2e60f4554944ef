"""Cancels messages: deletes rows that no relay has begun to publish, so their work is dropped.

Guarantee: a cancelled message never runs, and a message that cannot be cancelled is unchanged. A cancellation is one
transaction with the record of who cancelled the message and why. Used by `manage.py outbox cancel` and the admin.
"""

import logging
from collections import Counter

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from actors.outbox.context import log_word
from actors.outbox.models import AWAITING, COPIED, DeadLetterDecision, Decision, Operator, OutboxMessage, State, clean

logger = logging.getLogger(__name__)

IN_RABBITMQ = "already in RabbitMQ: a worker runs it"
DEAD = "dead: `manage.py deadletters discard` decides on it"
IN_HAND = "being published or settled at this moment"
BATCH = 200
"""Rows that are locked and cancelled in one transaction."""


def cancel(rows: QuerySet[OutboxMessage], *, by: Operator, why: str) -> int:
    """Delete the rows among `rows` that are pending or scheduled and under no lease; return how many.

    Args:
        rows: messages; those that cannot be cancelled are skipped.
        by: the person who cancels.
        why: their reason, kept with the message.
    """
    ids = sorted(rows.filter(state__in=AWAITING).values_list("pk", flat=True))
    record = {"decision": Decision.CANCELLED, "decided_by": clean(by.name)[:200], "decided_by_id": by.user_id}
    count = 0
    for start in range(0, len(ids), BATCH):
        made = _cancel_some(rows.filter(pk__in=ids[start : start + BATCH]), {**record, "why": clean(why)})
        count += len(made)
        for one in made:
            message = f"actor={log_word(one.actor)} subject={log_word(one.subject)} row={one.row_id}"
            logger.warning("message cancelled %s by=%r why=%r", message, one.decided_by, one.why)
    return count


def _cancel_some(rows: QuerySet[OutboxMessage], record: dict[str, object]) -> list[DeadLetterDecision]:
    unleased = Q(lease_until=None) | Q(lease_until__lt=Now())
    # A row under an execution lease is running: another copy of its message met the lease and was rescheduled.
    unheld = Q(held_until=None) | Q(held_until__lt=Now())
    with transaction.atomic():
        # A row that a relay is claiming is locked, and skipped.
        free = rows.filter(unleased, unheld, state__in=AWAITING).select_for_update(skip_locked=True)
        mine = list(free.defer(None))  # the admin defers columns that the record copies
        made = [
            DeadLetterDecision(row_id=row.pk, **{name: getattr(row, name) for name in COPIED}, **record) for row in mine
        ]
        OutboxMessage.objects.filter(pk__in=[row.pk for row in mine]).delete()
        return DeadLetterDecision.objects.bulk_create(made)


def why_not(rows: QuerySet[OutboxMessage]) -> Counter[str]:
    """Return why rows are left after `cancel`: the number of rows for each reason."""
    reasons = {State.PUBLISHED.value: IN_RABBITMQ, State.DEAD.value: DEAD}
    return Counter(reasons.get(state, IN_HAND) for state in rows.values_list("state", flat=True).iterator())
