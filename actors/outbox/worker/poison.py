"""Counts starts, to find the message that kills its worker, and takes execution leases.

Guarantee: a message that kills its worker each time is given up after `MAX_STARTS` counted starts. A first run is
counted only of an actor with outside effects. A message that only ran beside the poison one is not given up, because
suspects of a queue run one at a time; one that was prefetched and never begun is not counted. Called by `execution`.
"""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet, Subquery
from django.db.models.functions import Now

from actors.outbox.backoff import jittered_backoff
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.execution_lease import lease_end
from actors.outbox.worker.failures import die

# A message with this many counted starts, none of which came to an end, is given up.
MAX_STARTS = 5
# With this many a message is a suspect: it runs while no other suspect of its queue does. If it is redelivered, it runs
# after a pause, so that a worker that it kills again has done other work meanwhile.
SUSPECT_STARTS = 2
MIN_SUSPENSION_MS = 1_000
MAX_SUSPENSION_MS = 60_000

STARTS_EXCEEDED = "starts exceeded"


def begin(delivery: Delivery, *, run: UUID, takes_lease: bool, resumes: bool) -> str:
    """Count the start of a message and take its execution lease, unless it must not run now.

    The row's lock, or another execution's lease, shows that another worker still runs the message.

    Args:
        delivery: the message.
        run: the execution that begins, and that the lease will name.
        takes_lease: whether the actor runs outside a transaction, where only a lease shows that it is running.
        resumes: whether this execution has begun before and lost the database since, which is not a second start.

    Returns:
        Why the message must not run now: it is rescheduled or given up. Empty if it may run.

    Raises:
        SkipMessage: the message is settled, superseded or dead.
        RowIsLocked: another worker runs, settles or begins it.
    """
    with transaction.atomic(durable=True):
        row = delivery.locked_row()
        reason = _put_off_until_free(delivery, row, run) or ("" if resumes else _give_up_or_put_off(delivery, row))
        if not reason:
            is_counted = delivery.is_redelivered or row.starts > 0 or delivery.has_outside_effects
            counted = 0 if resumes else int(is_counted)
            lease = {"held_by": run, "held_until": lease_end()} if takes_lease else {}
            # From here on a send with its key is not a duplicate: this run may miss the changes of that sender.
            delivery.row().update(starts=F("starts") + counted, dedupe_key=None, **lease)
    return reason


def forget(delivery: Delivery, *, run: UUID) -> None:
    """Reset the starts and release the lease of an execution that a shutdown has interrupted: it killed no worker.

    If another execution has the lease, the row stays as it is.
    """
    delivery.row().filter(Q(held_by=None) | Q(held_by=run)).update(starts=0, held_until=None, held_by=None)


def _put_off_until_free(delivery: Delivery, row: OutboxMessage, run: UUID) -> str:
    """Reschedule a message that another execution has leased to the end of that lease; a suspect to its pause later."""
    pause_ms = _pause_ms(row.starts) if _is_redelivered_suspect(delivery, row) else 0
    due_at = F("held_until") + timedelta(milliseconds=pause_ms)
    others = delivery.row().filter(held_until__gt=Now()).exclude(held_by=run)
    if others.update(state=State.SCHEDULED, due_at=due_at):
        return "leased by another execution: tried again when that lease ends"
    return ""


def _give_up_or_put_off(delivery: Delivery, row: OutboxMessage) -> str:
    """Give up a message that keeps killing its worker; reschedule a suspect that is redelivered or not the first."""
    if row.starts >= MAX_STARTS:
        die(delivery, STARTS_EXCEEDED, f"begun {row.starts} times again, and never ended: it seems to kill its worker")
        return STARTS_EXCEEDED
    if _is_redelivered_suspect(delivery, row):
        _put_off(delivery, _pause_ms(row.starts))
        return f"begun {row.starts} times again: it is tried away from the others"
    if row.starts >= SUSPECT_STARTS and (before := _suspects_before(delivery).count()):
        # As long as one after the other would take: suspects do not come back all at once to find the same first one.
        _put_off(delivery, min(before * MIN_SUSPENSION_MS, MAX_SUSPENSION_MS))
        return f"begun {row.starts} times again: other suspects run before it, one at a time"
    return ""


def _suspects_before(delivery: Delivery) -> QuerySet[OutboxMessage]:
    """Return the suspects of a message's queue that may be running, or run next, before it: those due earlier.

    However long a worker takes to start again, and however many suspects wait for it, one of them begins; and what
    falls due while it runs is due later than it.
    """
    # Compared as they are stored: SQLite compares times as text.
    due_at = Subquery(delivery.row().values("due_at"))
    suspects = OutboxMessage.objects.filter(queue=delivery.message.queue_name, starts__gte=SUSPECT_STARTS)
    return suspects.exclude(state=State.DEAD).filter(
        Q(due_at__lt=due_at) | Q(due_at=due_at, pk__lt=delivery.ref.row_id)
    )


def _put_off(delivery: Delivery, pause_ms: int) -> None:
    delivery.row().update(state=State.SCHEDULED, due_at=Now() + timedelta(milliseconds=pause_ms))


def _is_redelivered_suspect(delivery: Delivery, row: OutboxMessage) -> bool:
    return delivery.is_redelivered and row.starts >= SUSPECT_STARTS


def _pause_ms(starts: int) -> int:
    return int(jittered_backoff(starts - SUSPECT_STARTS, minimum=MIN_SUSPENSION_MS, maximum=MAX_SUSPENSION_MS))
