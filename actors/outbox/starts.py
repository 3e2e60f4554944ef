"""Writes down that a message begins, where it may have killed a worker before, or is to be held.

Guarantee: a message that keeps killing its worker is given up after `MOST_STARTS`; one that only ran beside it is not,
because suspects are begun away from each other; and what was never begun counts for nothing. Called by `settlement`.
"""

from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from actors.outbox.delivery import Delivery
from actors.outbox.failures import die
from actors.outbox.holds import end_of_hold
from actors.outbox.models import OutboxMessage, State
from actors.outbox.retries import jittered_backoff

# How often a redelivered message is begun before it is taken for one that kills its worker.
MOST_STARTS = 5
# From so many on it is a suspect, and is begun after a pause of its own, away from those that it was seen dying with.
SUSPECT_STARTS = 2
MIN_SUSPENSION_MS = 1_000
MAX_SUSPENSION_MS = 60_000

STARTS_EXCEEDED = "starts exceeded"


def begin(delivery: Delivery, *, is_held: bool) -> str:
    """Count the start of a message and hold it if that is wanted; return why it is not to run now, empty if it is.

    The lock tells apart whoever is still at it.

    Raises:
        SkipMessage: it is settled, superseded, dead, or locked by another worker.
    """
    with transaction.atomic(durable=True):
        row = delivery.locked_row()
        reason = _put_off(delivery, row)
        if not reason:
            begun_again = 1 if delivery.is_redelivered or row.starts else 0
            held_until = end_of_hold() if is_held else None
            # From here on another of its key says something new: this one may have read what has changed since.
            delivery.row().update(starts=F("starts") + begun_again, held_until=held_until, dedupe_key=None)
    return reason


def forget(delivery: Delivery) -> None:
    """Let go of a message that was interrupted in good order: it has killed nobody."""
    delivery.row().update(starts=0, held_until=None)


def _put_off(delivery: Delivery, row: OutboxMessage) -> str:
    """Schedule what is held by another worker, and a suspect that comes straight from its last end; end a killer."""
    if delivery.row().filter(held_until__gt=Now()).update(state=State.SCHEDULED, due_at=F("held_until")):
        return "held by another worker: looked at again when its hold ends"
    if row.starts >= MOST_STARTS:
        die(delivery, STARTS_EXCEEDED, f"begun {row.starts} times again, and never ended: it seems to kill its worker")
        return STARTS_EXCEEDED
    if delivery.is_redelivered and row.starts >= SUSPECT_STARTS:
        delivery.row().update(state=State.SCHEDULED, due_at=Now() + timedelta(milliseconds=_pause_ms(row.starts)))
        return f"begun {row.starts} times again: it is tried away from the others"
    return ""


def _pause_ms(starts: int) -> int:
    return jittered_backoff(starts - SUSPECT_STARTS, least_ms=MIN_SUSPENSION_MS, longest_ms=MAX_SUSPENSION_MS)
