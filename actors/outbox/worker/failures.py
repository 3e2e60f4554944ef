"""Writes the outcome of a failed attempt: the row is scheduled for its retry, or becomes a dead letter.

Guarantee: the outcome is an update of the row at this attempt, so it never recreates a row that another worker settled.
Callbacks are sent in the same transaction, or not at all. A message that has died is failed for Dramatiq too
(`message.fail()`), once that is committed, and each outcome is one log line. `retries` decides; `execution` calls
`write_failure`.
"""

import logging
import traceback
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from dramatiq import Message
from dramatiq.errors import RateLimitExceeded, Retry

from actors.outbox.envelope import RETRY_OPTIONS, retry_options
from actors.outbox.models import AWAITING, UNLEASED, OutboxMessage, State, clean
from actors.outbox.store import UnsettledRow
from actors.outbox.wakeup import wake_relay_on_commit
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.dramatiq_internals import error_of
from actors.outbox.worker.follow_ups import call_back
from actors.outbox.worker.retries import RETRIES_EXHAUSTED, THROWS, Verdict, retries_of

logger = logging.getLogger(__name__)

NOT_HANDLED = "failure not handled"
FAILED_BY_MIDDLEWARE = "failed by a middleware"
# As Dramatiq logs them; every other death is an ERROR.
LEVELS = {THROWS: logging.INFO, RETRIES_EXHAUSTED: logging.WARNING}
# An actor raises these on purpose, and Dramatiq logs no traceback of them either.
EXPECTED = (Retry, RateLimitExceeded)


def write_failure(delivery: Delivery, error: BaseException) -> None:
    """Reschedule the message or make it a dead letter, and send its callbacks.

    Raises:
        Exception: the actor's own `retry_when` failed, or a callback cannot be sent; nothing is written.
    """
    # The body of the row: the actor may have changed the arguments that it was called with.
    found = delivery.row().values_list("first_attempt", "body").first()
    if found is None:
        _log_dropped(delivery, describe(error))
        return
    first_attempt, body = found
    retries, options = delivery.ref.attempt - first_attempt, delivery.message.options
    verdict = retries_of(delivery.broker).judge(delivery.actor, options=options, attempt=retries, error=error)
    if verdict.reason != THROWS:
        # For callbacks and other middleware, as by Dramatiq's Retries.
        options |= retry_options(retries + 1, clean(trace_of(error)))
    with transaction.atomic():
        if verdict.delay_ms is not None:
            is_written = _reschedule(delivery, bytes(body), verdict.delay_ms, error)
        else:
            is_written = die(delivery, verdict.reason, describe(error), error)
        if is_written:
            _call_back(delivery, error, verdict, retries)


def die(delivery: Delivery, reason: str, text: str, error: BaseException | None = None) -> bool:
    """Make the message a dead letter, and fail it for Dramatiq once that is committed.

    Args:
        delivery: the message.
        reason: why there is no further attempt.
        text: what happened.
        error: the error of its last attempt, if that is why.

    Returns:
        False if it was settled or superseded before.
    """
    is_written = bool(delivery.row().mark_dead(reason, error=text, traceback=trace_of(error)))
    if is_written:
        transaction.on_commit(partial(_note_death, delivery, reason, text, error))
    else:
        _log_dropped(delivery, text)
    return is_written


def write_late_failure(delivery: Delivery, row: OutboxMessage | UnsettledRow | None) -> None:
    """Make a dead letter of a message that another middleware has failed after its outcome was written.

    Args:
        delivery: the message.
        row: the row that was settled, whose message gets a row again; None if a retry was written, which then ends. A
            retry that is published already goes on.
    """
    error = error_of(delivery.message)
    text = describe(error) if error else "its effect is committed: a replay would repeat it"
    with transaction.atomic():
        if row is None:
            retry = OutboxMessage.objects.filter(pk=delivery.ref.row_id, attempt=delivery.ref.attempt + 1)
            is_written = bool(
                retry.filter(state__in=AWAITING).mark_dead(FAILED_BY_MIDDLEWARE, error=text, traceback=trace_of(error))
            )
        else:
            OutboxMessage.objects.create(
                message_id=delivery.message.message_id,
                queue=row.queue,
                actor=delivery.message.actor_name,
                body=row.body,
                subject=delivery.message.options.get("subject", ""),
                request_id=row.request_id,
                changed_by=row.changed_by,
                changed_by_id=row.changed_by_id,
                claimed_at=Now(),  # a row without is a foreign message's
                state=State.DEAD,
                died_at=Now(),
                reason=FAILED_BY_MIDDLEWARE,
                error=text,
            )
            is_written = True
        if is_written:
            transaction.on_commit(partial(_note_death, delivery, FAILED_BY_MIDDLEWARE, text, None))


def describe(error: BaseException) -> str:
    """Return an error's type and text."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001 – an actor's error whose `__str__` fails has to be recorded too
        text = f"({type(second).__name__} raised by its __str__)"
    return f"{type(error).__name__}: {text}"


def trace_of(error: BaseException | None) -> str:
    """Return an error's traceback, as Python prints it; "" for None."""
    return "".join(traceback.format_exception(error, limit=30)) if error else ""


def _reschedule(delivery: Delivery, body: bytes, delay_ms: int, error: BaseException) -> bool:
    retry = Message.decode(body)
    retry.options.update({name: delivery.message.options[name] for name in RETRY_OPTIONS})
    # To Dramatiq's middleware a retry is a message that is enqueued again.
    delivery.broker.emit_before("enqueue", retry, delay_ms)
    written = delivery.row().update(
        state=State.SCHEDULED,
        attempt=F("attempt") + 1,
        starts=0,
        due_at=Now() + timedelta(milliseconds=delay_ms),
        body=retry.encode(),
        error=clean(describe(error)),
        traceback=retry.options["traceback"],
        **UNLEASED,
    )
    if written:
        wake_relay_on_commit(delay_ms=delay_ms)
        transaction.on_commit(partial(_note_retry, delivery, retry, delay_ms, error))
    else:
        _log_dropped(delivery, describe(error))
    return bool(written)


def _note_death(delivery: Delivery, reason: str, text: str, error: BaseException | None) -> None:
    message = delivery.message
    message.outcome = State.DEAD.value  # type: ignore[attr-defined]
    message.fail()
    is_expected = reason == THROWS or isinstance(error, EXPECTED)
    level = LEVELS.get(reason, logging.ERROR)
    line = "state=dead %s reason=%r"
    logger.log(level, line, delivery.log_fields(text), reason, exc_info=None if is_expected else error)


def _note_retry(delivery: Delivery, retry: Message[Any], delay_ms: int, error: BaseException) -> None:
    delivery.message.outcome = State.SCHEDULED.value  # type: ignore[attr-defined]
    # One traceback of each message before that of its death: twenty equal ones would hide what else happens.
    is_first = retry.options["retries"] == 1 and not isinstance(error, EXPECTED)
    due_at = timezone.localtime() + timedelta(milliseconds=delay_ms)
    logger.log(
        logging.ERROR if is_first else logging.INFO,
        "state=scheduled %s delay_ms=%d due_at=%s",
        delivery.log_fields(describe(error)),
        delay_ms,
        due_at.isoformat(timespec="seconds"),
        exc_info=error if is_first else None,
    )
    delivery.broker.emit_after("enqueue", retry, delay_ms)


def _log_dropped(delivery: Delivery, text: str) -> None:
    logger.info("failure dropped %s: settled or superseded before", delivery.log_fields(text))


def _call_back(delivery: Delivery, error: BaseException, verdict: Verdict, retries: int) -> None:
    call_back(delivery, "on_failure", {"type": type(error).__name__, "message": str(error)})
    if verdict.reason == RETRIES_EXHAUSTED:
        call_back(delivery, "on_retry_exhausted", {"retries": retries, "max_retries": verdict.max_retries})
