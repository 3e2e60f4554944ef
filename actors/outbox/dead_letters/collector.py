"""Collects the messages that RabbitMQ dead-lettered: of unknown actors, undecodable, rejected, delivered too often.

Guarantee: a dead letter is acknowledged only after it was written to a row, or if its message is settled, superseded or
forged. A row dies only for the message that it published, and for no policy of its queue: a message that RabbitMQ
removed for its age, or for want of room, is published again, after a pause. A program that floods RabbitMQ fills no
disk with rows: of foreign messages, which have no row, `MAX_FOREIGN` are kept, each cut at `MAX_FOREIGN_BYTES`; others
are dropped.
`maintenance.upkeep` calls `collect`; an operator decides on the rows (`decisions`).
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors.outbox.amqp.topology import dead_letter_queue
from actors.outbox.backoff import jittered_backoff
from actors.outbox.conf import conf
from actors.outbox.context import log_word
from actors.outbox.db.errors import RowIsLocked
from actors.outbox.dead_letters.payload import is_known, is_too_old, plain
from actors.outbox.decoding import MAX_ID_LENGTH, MAX_NAME_LENGTH, MAX_SHOWN_BYTES, OPTION, AttemptRef, read
from actors.outbox.envelope import differences, to_amqp
from actors.outbox.exceptions import OutboxError
from actors.outbox.installation import is_of_another
from actors.outbox.log_limit import limit_lines
from actors.outbox.models import UNLEASED, DeadLetterDecision, OutboxMessage, State
from actors.outbox.store import lock, log_fields_of

logger = logging.getLogger(__name__)

UNDECODABLE = "undecodable"
FOREIGN = "foreign"
UNKNOWN_ACTOR = "unknown actor"
TOO_OLD = "too old"
REJECTED = "rejected"
# RabbitMQ's own reasons: https://www.rabbitmq.com/docs/dlx
RABBITMQS_REASONS = {"delivery_limit": "delivery limit", "expired": "expired", "maxlen": "overflow"}
# Those that say nothing of the message: a policy (message-ttl; max-length with drop-head) took it out of its queue.
POLICIES = {"expired": "message-ttl", "maxlen": "max-length"}

# A row that stays locked for longer is being settled, and the next round finds it gone.
LOCK_TIMEOUT_MS = 500
# Within this time a redelivered foreign message that equals a known dead letter counts as the same one, whose collector
# was killed before it acknowledged.
SAME_LETTER_WITHIN = timedelta(days=1)
MAX_PROBLEM_LENGTH = 1_000
MAX_FOREIGN = 1_000
MAX_FOREIGN_BYTES = 65_536

# Lines that a client of RabbitMQ can cause without end.
SETTLED = "dead letter dropped row=%s: settled or superseded before"
FORGED = "dead letter dropped row=%s: forged, it is not what this service published; the row stays as it is"
TOO_MANY = "dead letter dropped queue=%s: a foreign message, of which %d are kept until an operator has decided on them"
limit_lines(logger, SETTLED, FORGED, TOO_MANY)
# A queue whose messages wait for longer than its policy allows gives one message after the other.
RETURNED = (
    "published again row=%s queue=%s seconds=%.0f reason=%r: RabbitMQ removed it before a worker took it "
    "hint='raise or remove %s of the queue: rabbitmqctl list_policies'"
)
RARELY = {"max_lines": 1, "window_seconds": 600.0}
limit_lines(logger, RETURNED, **RARELY)


class OthersLetter(OutboxError):
    """Raised when the next dead letter is of another installation, which collects it itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A message from the dead-letter queue of `queue`. Any client may have published it: no value is trusted."""

    queue: str
    body: bytes
    headers: dict[Any, Any]
    message_id: object = None
    actor: object = None
    is_redelivered: bool = False


def collect(channel: Any, queue: str, *, at_most: int) -> int:
    """Write the dead letters of `queue` to rows; those that a worker may still settle are requeued and collected later.

    Args:
        channel: a pika `BlockingChannel`.
        queue: the queue that the workers consume.
        at_most: messages to take.

    Returns:
        How many messages were acknowledged.

    Raises:
        OthersLetter: the next message is another installation's; it is requeued.
        OperationalError, InterfaceError: the database cannot be reached; the message is requeued.
        AMQPError: RabbitMQ cannot be reached, or has no such queue.
    """
    collected = 0
    waiting: list[int] = []
    try:
        for _ in range(at_most):
            method, properties, body = channel.basic_get(dead_letter_queue(queue), auto_ack=False)
            if method is None:
                break
            # Requeued unless it is written to a row: an error before that leaves it in RabbitMQ.
            waiting.append(method.delivery_tag)
            if is_of_another(properties.headers):
                raise OthersLetter(f"queue={dead_letter_queue(queue)} is shared with another installation")
            letter = DeadLetter(
                queue=queue,
                body=body,
                headers=properties.headers or {},
                message_id=properties.message_id,
                actor=properties.type,
                is_redelivered=method.redelivered,
            )
            if write_down(letter):
                channel.basic_ack(waiting.pop())
                collected += 1
        return collected
    finally:
        if channel.is_open:
            for tag in waiting:
                channel.basic_nack(tag, requeue=True)


def write_down(letter: DeadLetter) -> bool:
    """Mark the message's row dead or pending again, or insert a dead row for a foreign message, and commit.

    Returns:
        False if nothing was written because a worker may still settle the message.

    Raises:
        OperationalError, InterfaceError: the database cannot be reached.
    """
    message, problem = read(letter.body)
    cause, text = _rabbitmqs_reason(letter.headers)
    reason, error = _judge(message, problem, cause=cause, text=text)
    policy = POLICIES.get(cause) if message is not None else None
    message_id = plain(letter.message_id if message is None else message.message_id, MAX_ID_LENGTH)
    # A message that cannot be read may still be what the row published: its reference is in a header too.
    options = message.options if message is not None else {OPTION: plain(letter.headers.get(OPTION))}
    ref = AttemptRef.of(options)
    try:
        with transaction.atomic(durable=True):
            if ref is not None:
                row = _published_row(ref, letter, message)
                if row is None:
                    return True
                if OutboxMessage.objects.filter(pk=row.pk, held_until__gt=Now()).exists():
                    return False
                if policy is not None:
                    _publish_again(row, reason=reason, policy=policy)
                else:
                    _mark_dead(row, reason=reason, error=error)
                return True
            actor = plain(letter.actor if message is None else message.actor_name, MAX_NAME_LENGTH)
            _add(letter, message_id=message_id, actor=actor, reason=reason, error=error)
            return True
    except RowIsLocked:
        return False


def _published_row(ref: AttemptRef, letter: DeadLetter, message: Message[Any] | None) -> OutboxMessage | None:
    """Return the row that published the message, locked; None if it is settled or superseded, or published another."""
    attempts = lock([ref.row_id], timeout_ms=LOCK_TIMEOUT_MS)
    row = OutboxMessage.objects.filter(pk=ref.row_id).first() if attempts.get(ref.row_id) == ref.attempt else None
    # Another message id with the same row id: the database was recreated since, and the message came from the old one.
    if row is None or (message is not None and row.message_id != message.message_id):
        logger.info(SETTLED, ref)
        return None
    if not _is_published_by(row, letter, message):
        logger.error(FORGED, ref)
        return None
    return row


def _mark_dead(row: OutboxMessage, *, reason: str, error: str) -> None:
    OutboxMessage.objects.filter(pk=row.pk).mark_dead(reason, error=error, traceback=row.traceback)
    logger.error("state=dead %s reason=%r", log_fields_of(row, error), reason)


def _publish_again(row: OutboxMessage, *, reason: str, policy: str) -> None:
    # The longer a message exists, the longer it waits: each pause is about twice as long as the one before.
    age_ms = (timezone.now() - row.created_at).total_seconds() * 1_000
    minimum = max(age_ms, conf.OUTBOX_MIN_BACKOFF_MS)
    seconds = jittered_backoff(0, minimum=minimum, maximum=conf.OUTBOX_MAX_BACKOFF_MS) / 1_000
    pending = {"state": State.PENDING, "due_at": Now() + timedelta(seconds=seconds), "published_at": None}
    OutboxMessage.objects.filter(pk=row.pk).update(**pending, **UNLEASED)
    logger.warning(RETURNED, row.pk, row.queue, seconds, reason, policy)


def _is_published_by(row: OutboxMessage, letter: DeadLetter, message: Message[Any] | None) -> bool:
    if message is not None:
        return not differences(message.copy(queue_name=letter.queue), body=bytes(row.body), queue=row.queue)
    try:
        return letter.body == to_amqp(row).body
    except (DecodeError, TypeError):
        return False


def _add(letter: DeadLetter, **columns: str) -> None:
    queue, body = plain(letter.queue, MAX_NAME_LENGTH), letter.body[:MAX_FOREIGN_BYTES]
    if letter.is_redelivered and _is_known(queue, body):
        return
    # A row that a send has written was claimed before it died.
    if OutboxMessage.objects.filter(state=State.DEAD, claimed_at=None)[:MAX_FOREIGN].count() == MAX_FOREIGN:
        logger.error(TOO_MANY, queue, MAX_FOREIGN)
        return
    if body != letter.body:
        columns["error"] += f"\nCut: it had {len(letter.body)} bytes."
    row = OutboxMessage.objects.create(
        queue=queue,
        body=body,
        state=State.DEAD,
        died_at=Now(),
        subject=plain(letter.headers.get("subject"), MAX_NAME_LENGTH),
        request_id=plain(letter.headers.get("request_id"), MAX_NAME_LENGTH),
        **columns,
    )
    fields, shown = log_fields_of(row, row.error), body[:MAX_SHOWN_BYTES]
    logger.error("state=dead %s queue=%s reason=%r body=%r: foreign", fields, log_word(queue), row.reason, shown)


def _is_known(queue: str, body: bytes) -> bool:
    """Return whether an equal dead letter was written lately, even if it was decided on since."""
    since = Now() - SAME_LETTER_WITHIN
    dead = OutboxMessage.objects.filter(state=State.DEAD, died_at__gte=since, queue=queue, body=body)
    return dead.exists() or DeadLetterDecision.objects.filter(decided_at__gte=since, queue=queue, body=body).exists()


def _judge(message: Message[Any] | None, problem: str, *, cause: str, text: str) -> tuple[str, str]:
    """Return why a message is dead: the reason and an explanation."""
    if message is None:
        return UNDECODABLE, f"{plain(problem, MAX_PROBLEM_LENGTH)}\n{text}"
    if AttemptRef.of(message.options) is None and not conf.OUTBOX_FOREIGN_MESSAGES:
        return FOREIGN, f"another program published it, and OUTBOX_FOREIGN_MESSAGES is False\n{text}"
    if cause in RABBITMQS_REASONS:
        return RABBITMQS_REASONS[cause], text
    if not is_known(message.actor_name):
        return UNKNOWN_ACTOR, f"there is no actor {plain(message.actor_name)!r}\n{text}"
    if is_too_old(message):
        return TOO_OLD, f"it was sent at {message.message_datetime:%Y-%m-%d %H:%M:%S %Z}\n{text}"
    return REJECTED, text


def _rabbitmqs_reason(headers: dict[Any, Any]) -> tuple[str, str]:
    """Return RabbitMQ's reason for the latest dead-lettering, and a sentence that explains it."""
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    cause = plain(latest.get("reason") or headers.get("x-first-death-reason"), MAX_NAME_LENGTH)
    if not cause:
        return "", "RabbitMQ gives no reason: it was put among the dead letters by hand."
    count = latest.get("count") if isinstance(latest.get("count"), int) else 1
    return cause, f"RabbitMQ: {cause} in queue {plain(latest.get('queue'), MAX_NAME_LENGTH)!r}, {count}×"
