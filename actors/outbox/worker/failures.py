"""Writes the outcome of a failed attempt: the row is scheduled for its retry, or becomes a dead letter.

Guarantee: the outcome is an update of the row at this attempt, so it never recreates a row that another worker settled.
Callbacks are sent in the same transaction, or not at all. `retries` decides; `execution` calls `write_failure`.
"""

import logging
import traceback
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from actors.outbox.models import UNLEASED, State, clean
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.follow_ups import call_back
from actors.outbox.worker.retries import RETRIES_EXHAUSTED, Verdict, retries_of

logger = logging.getLogger(__name__)

NOT_HANDLED = "failure not handled"


def write_failure(delivery: Delivery, error: BaseException) -> None:
    """Reschedule the message or make it a dead letter, and send its callbacks.

    Raises:
        Exception: the actor's own `retry_when` failed, or a callback cannot be sent; nothing is written.
    """
    retries = _retries(delivery)
    verdict = retries_of(delivery.broker).judge(
        delivery.actor, options=delivery.message.options, attempt=retries, error=error
    )
    with transaction.atomic():
        if verdict.delay_ms is not None:
            is_written = _reschedule(delivery, verdict.delay_ms, error)
        else:
            is_written = die(delivery, verdict.reason, describe(error), trace_of(error))
        if is_written:
            _call_back(delivery, error, verdict, retries)


def die(delivery: Delivery, reason: str, error: str, trace: str = "") -> bool:
    """Make the message a dead letter; return False if it was settled or superseded before."""
    is_written = bool(delivery.row().mark_dead(reason, error=error, traceback=trace))
    if is_written:
        logger.error("state=dead %s reason=%r", delivery.log_fields(error), reason)
    else:
        logger.info("failure dropped %s: settled or superseded before", delivery.log_fields(error))
    return is_written


def describe(error: BaseException) -> str:
    """Return an error's type and text."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001 – an actor's error whose `__str__` fails has to be recorded too
        text = f"({type(second).__name__} raised by its __str__)"
    return f"{type(error).__name__}: {text}"


def trace_of(error: BaseException) -> str:
    """Return an error's traceback, as Python prints it."""
    return "".join(traceback.format_exception(error, limit=30))


def _retries(delivery: Delivery) -> int:
    """Return the number of retries since the message was sent or last replayed."""
    first = delivery.row().values_list("first_attempt", flat=True).first()
    return delivery.ref.attempt - (first or 0)


def _reschedule(delivery: Delivery, delay_ms: int, error: BaseException) -> bool:
    written = delivery.row().update(
        state=State.SCHEDULED,
        attempt=F("attempt") + 1,
        starts=0,
        due_at=Now() + timedelta(milliseconds=delay_ms),
        error=clean(describe(error)),
        traceback=clean(trace_of(error)),
        **UNLEASED,
    )
    if written:
        logger.info("state=scheduled %s delay_ms=%d", delivery.log_fields(describe(error)), delay_ms)
    else:
        logger.info("failure dropped %s: settled or superseded before", delivery.log_fields(describe(error)))
    return bool(written)


def _call_back(delivery: Delivery, error: BaseException, verdict: Verdict, retries: int) -> None:
    call_back(delivery, "on_failure", {"type": type(error).__name__, "message": str(error)})
    if verdict.reason == RETRIES_EXHAUSTED:
        call_back(delivery, "on_retry_exhausted", {"retries": retries, "max_retries": verdict.max_retries})
