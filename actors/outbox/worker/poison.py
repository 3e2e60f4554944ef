"""Writes down that a message begins, where it may have killed a worker before, or is to be held.

Guarantee: a message that keeps killing its worker is given up after `MAX_STARTS` that were counted, which a first run
is only if it is held; one that only ran beside it is not, because suspects are begun away from each other; and what was
never begun counts for nothing. Called by `settlement`.
"""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from actors.outbox.backoff import jittered_backoff
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.execution_lease import lease_end
from actors.outbox.worker.failures import die

# How often a redelivered message is begun before it is taken for one that kills its worker.
MAX_STARTS = 5
# From so many on it is a suspect, and is begun after a pause of its own, away from those that it was seen dying with.
SUSPECT_STARTS = 2
MIN_SUSPENSION_MS = 1_000
MAX_SUSPENSION_MS = 60_000

STARTS_EXCEEDED = "starts exceeded"


def begin(delivery: Delivery, *, run: UUID, takes_hold: bool, goes_on: bool) -> str:
    """Count the start of a message and hold it if that is wanted; return why it is not to run now, empty if it is.

    The lock tells apart whoever is still at it.

    Args:
        delivery: the message.
        run: whose start it is, and whose hold.
        takes_hold: it runs outside a transaction: only a hold tells that it still does.
        goes_on: this run has begun before, and lost the database since: it is no second start.

    Raises:
        SkipMessage: it is settled, superseded or dead.
        RowIsLocked: another worker is settling it, or begins it.
    """
    with transaction.atomic(durable=True):
        row = delivery.locked_row()
        reason = _put_off_until_free(delivery, row, run) or ("" if goes_on else _give_up_or_put_off(delivery, row))
        if not reason:
            begun_again = 0 if goes_on else int(delivery.is_redelivered or row.starts > 0 or delivery.is_held)
            hold = {"held_by": run, "held_until": lease_end()} if takes_hold else {}
            # From here on another of its key says something new: this one may have read what has changed since.
            delivery.row().update(starts=F("starts") + begun_again, dedupe_key=None, **hold)
    return reason


def forget(delivery: Delivery, *, run: UUID) -> None:
    """Let go of a message whose run was interrupted in good order: it has killed nobody."""
    delivery.row().filter(Q(held_by=None) | Q(held_by=run)).update(starts=0, held_until=None, held_by=None)


def _put_off_until_free(delivery: Delivery, row: OutboxMessage, run: UUID) -> str:
    """Schedule what another worker holds for the end of that hold; if that worker was killed, for its turn alone."""
    pause_ms = _pause_ms(row.starts) if _is_suspect(delivery, row) else 0
    due_at = F("held_until") + timedelta(milliseconds=pause_ms)
    others = delivery.row().filter(held_until__gt=Now()).exclude(held_by=run)
    if others.update(state=State.SCHEDULED, due_at=due_at):
        return "held by another worker: looked at again when its hold ends"
    return ""


def _give_up_or_put_off(delivery: Delivery, row: OutboxMessage) -> str:
    """End what keeps killing its worker, and schedule a suspect that comes straight from its last end."""
    if row.starts >= MAX_STARTS:
        die(delivery, STARTS_EXCEEDED, f"begun {row.starts} times again, and never ended: it seems to kill its worker")
        return STARTS_EXCEEDED
    if _is_suspect(delivery, row):
        delivery.row().update(state=State.SCHEDULED, due_at=Now() + timedelta(milliseconds=_pause_ms(row.starts)))
        return f"begun {row.starts} times again: it is tried away from the others"
    return ""


def _is_suspect(delivery: Delivery, row: OutboxMessage) -> bool:
    return delivery.is_redelivered and row.starts >= SUSPECT_STARTS


def _pause_ms(starts: int) -> int:
    return int(jittered_backoff(starts - SUSPECT_STARTS, minimum=MIN_SUSPENSION_MS, maximum=MAX_SUSPENSION_MS))
