"""Decisions on dead letters: an operator has them replayed or discarded.

Guarantee: a decision is carried out once, in one transaction with the record of who made it and why. Dead letters are
written by `worker.failures` and `worker.poison`, by `relay` and by `collector`; `relay` publishes replayed messages.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from dramatiq.common import current_millis, q_name

from actors.outbox.context import log_word
from actors.outbox.dead_letters.payload import UnfitMessage, is_too_old, plain, require_fit, require_queue
from actors.outbox.models import UNLEASED, DeadLetterDecision, Decision, OutboxMessage, State
from actors.outbox.wakeup import wake_relay_on_commit

logger = logging.getLogger(__name__)

# Rows that are locked and decided on in one transaction.
BATCH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """The person who decides on dead letters."""

    name: str
    user_id: int | None = None


@dataclass(kw_only=True, slots=True)
class DecisionResult:
    """The outcome for each row; a row in neither field was not dead any more, because of an earlier decision."""

    decisions: list[DeadLetterDecision] = field(default_factory=list)

    refused: dict[int, str] = field(default_factory=dict)
    """Why rows stay dead, by row id."""


def replay(rows: QuerySet[OutboxMessage], *, by: Operator, why: str, body: bytes | None = None) -> DecisionResult:
    """Have dead letters published again, each as a new attempt, so that late copies of earlier attempts are dropped.

    Args:
        rows: the dead letters; rows that are not dead any more are skipped.
        by: the person who decides.
        why: their reason, kept with the decision.
        body: only for a single row: the encoded message to publish in place of its own.

    Returns:
        The recorded decisions, and why other rows stay dead: their messages would only fail again.
    """
    assert body is None or len(rows) == 1
    kind = Decision.REPLAYED if body is None else Decision.EDITED
    record = partial(_record, kind=kind, by=by, why=why, edited=body)
    return _decide(rows, lambda row: _revive(row, body), record)


def discard(rows: QuerySet[OutboxMessage], *, by: Operator, why: str) -> DecisionResult:
    """Delete dead letters; the records of the decisions keep their messages.

    Args:
        rows: the dead letters; rows that are not dead any more are skipped.
        by: the person who decides.
        why: their reason, kept with the decision.
    """

    def delete(row: OutboxMessage) -> None:
        OutboxMessage.objects.filter(pk=row.pk).delete()

    return _decide(rows, delete, partial(_record, kind=Decision.DISCARDED, by=by, why=why, edited=None))


def _decide(
    rows: QuerySet[OutboxMessage],
    do: Callable[[OutboxMessage], None],
    record: Callable[[OutboxMessage], DeadLetterDecision],
) -> DecisionResult:
    decided = DecisionResult()
    for batch in _batches(sorted(rows.values_list("pk", flat=True))):
        with transaction.atomic():
            # Locked: of two operators who decide at once, the second finds that the row is not dead any more.
            for row in OutboxMessage.objects.filter(pk__in=batch, state=State.DEAD).order_by("pk").select_for_update():
                decision = record(row)
                try:
                    do(row)
                except UnfitMessage as error:
                    decided.refused[row.pk] = str(error)
                    continue
                decision.save(force_insert=True)
                decided.decisions.append(decision)
            wake_relay_on_commit()
    for decision in decided.decisions:
        logger.warning(
            "dead letter %s actor=%s subject=%s row=%d reason=%r by=%r why=%r",
            decision.decision,
            log_word(decision.actor),
            log_word(decision.subject),
            decision.row_id,
            decision.reason,
            decision.decided_by,
            decision.why,
        )
    return decided


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _record(row: OutboxMessage, *, kind: Decision, by: Operator, why: str, edited: bytes | None) -> DeadLetterDecision:
    return DeadLetterDecision(
        row_id=row.pk,
        message_id=row.message_id,
        queue=row.queue,
        actor=row.actor,
        subject=row.subject,
        reason=row.reason,
        error=row.error,
        body=bytes(row.body),
        edited_body=edited,
        decision=kind,
        decided_by=plain(by.name, 200),
        decided_by_id=by.user_id,
        why=plain(why),
    )


def _revive(row: OutboxMessage, edited: bytes | None) -> None:
    body = bytes(row.body) if edited is None else edited
    message = require_fit(body)
    queue = row.queue if edited is None else q_name(message.queue_name)
    require_queue(queue)
    if is_too_old(message):
        # With its old timestamp AgeLimit would only reject it again.
        body = message.copy(message_timestamp=current_millis()).encode()
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
