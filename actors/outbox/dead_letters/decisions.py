"""Decisions on dead letters: an operator replays or discards them.

Guarantee: a decision is carried out once, in one transaction with the record of who made it and why. Dead letters are
written by `worker.failures` and `worker.poison`, by `relay` and by `collector`; `relay` publishes replayed messages.
"""

import logging
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from dramatiq.common import current_millis, q_name

from actors.outbox.context import log_word
from actors.outbox.dead_letters.payload import UnfitMessage, is_too_old, plain, require_fit, require_queue
from actors.outbox.envelope import RETRY_OPTIONS
from actors.outbox.models import COPIED, UNLEASED, DeadLetterDecision, Decision, Operator, OutboxMessage, State
from actors.outbox.wakeup import wake_relay_on_commit

logger = logging.getLogger(__name__)

# Rows that are locked and decided on in one transaction.
BATCH = 200


@dataclass(kw_only=True, slots=True)
class DecisionResult:
    """The outcome for each row; a row in neither field was not dead any more, because of an earlier decision."""

    decisions: list[DeadLetterDecision] = field(default_factory=list)

    refused: dict[int, str] = field(default_factory=dict)
    """Why rows stay dead, by row id."""


def replay(rows: QuerySet[OutboxMessage], *, by: Operator, why: str, body: bytes | None = None) -> DecisionResult:
    """Make dead letters pending again, each as a new attempt: late copies of earlier attempts are dropped.

    Args:
        rows: the dead letters; rows that are not dead any more are skipped.
        by: the person who decides.
        why: their reason, kept with the decision.
        body: only for a single row: the encoded message to publish in place of its own.

    Returns:
        The recorded decisions, and why other rows stay dead: their messages would only fail again.
    """
    assert body is None or len(rows) == 1
    return _decide(rows, Decision.REPLAYED if body is None else Decision.EDITED, by=by, why=why, edited=body)


def discard(rows: QuerySet[OutboxMessage], *, by: Operator, why: str) -> DecisionResult:
    """Delete dead letters; the records of the decisions keep their messages.

    Args:
        rows: the dead letters; rows that are not dead any more are skipped.
        by: the person who decides.
        why: their reason, kept with the decision.
    """
    return _decide(rows, Decision.DISCARDED, by=by, why=why)


def _decide(
    rows: QuerySet[OutboxMessage], kind: Decision, *, by: Operator, why: str, edited: bytes | None = None
) -> DecisionResult:
    result = DecisionResult()
    decision = {
        "decision": kind,
        "edited_body": edited,
        "decided_by": plain(by.name, 200),
        "decided_by_id": by.user_id,
        "why": plain(why),
    }
    ids = sorted(rows.values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        dead = OutboxMessage.objects.filter(pk__in=ids[start : start + BATCH], state=State.DEAD)
        with transaction.atomic():
            # Locked: of two operators who decide at the same time, the second finds that the row is not dead any more.
            for row in dead.order_by("pk").select_for_update():
                try:
                    if kind == Decision.DISCARDED:
                        OutboxMessage.objects.filter(pk=row.pk).delete()
                    else:
                        _revive(row, edited)
                except UnfitMessage as error:
                    result.refused[row.pk] = str(error)
                else:
                    copies = {name: getattr(row, name) for name in COPIED}
                    result.decisions.append(DeadLetterDecision.objects.create(row_id=row.pk, **copies, **decision))
            wake_relay_on_commit()
    for made in result.decisions:
        message = f"actor={log_word(made.actor)} subject={log_word(made.subject)} row={made.row_id}"
        outcome = f"reason={made.reason!r} by={made.decided_by!r} why={made.why!r}"
        logger.warning("dead letter %s %s %s", made.decision, message, outcome)
    return result


def _revive(row: OutboxMessage, edited: bytes | None) -> None:
    body = bytes(row.body) if edited is None else edited
    message = require_fit(body)
    earlier_retries = [message.options.pop(name) for name in RETRY_OPTIONS if name in message.options]
    queue = row.queue if edited is None else q_name(message.queue_name)
    require_queue(queue)
    if is_too_old(message):
        # With the old timestamp AgeLimit would reject it again.
        body = message.copy(message_timestamp=current_millis()).encode()
    elif earlier_retries or message.message_id.encode() not in body:
        # Another program's, without an id: each reading gives it a new one, and a worker runs only that of its row.
        body = message.encode()
    OutboxMessage.objects.filter(pk=row.pk, state=State.DEAD).update(
        message_id=message.message_id,
        queue=queue,
        actor=message.actor_name,
        body=body,
        state=State.PENDING,
        attempt=F("attempt") + 1,
        first_attempt=F("attempt") + 1,
        starts=0,
        due_at=Now(),
        published_at=None,
        died_at=None,
        reason="",
        error="",
        traceback="",
        **UNLEASED,
    )
