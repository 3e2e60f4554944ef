"""Keeps what was given up until a person decides: collects RabbitMQ's dead letters, replays or discards what is dead.

Guarantee: a dead letter is acknowledged only once it is a row, or known to be settled; a decision is carried out once,
in one transaction with the record of who made it and why. `settlement` writes the deaths that a worker sees, `relay`
carries what is replayed.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dramatiq
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.module_loading import autodiscover_modules
from dramatiq import Message
from dramatiq.common import current_millis, q_name
from dramatiq.errors import DecodeError
from dramatiq.message import generate_unique_id
from dramatiq.middleware import AgeLimit

from actors.outbox.envelope import OPTION, Ticket
from actors.outbox.errors import OutboxError
from actors.outbox.models import NOBODYS, DeadLetterDecision, Decision, OutboxMessage, State, clean
from actors.outbox.outage import lock_was_not_available
from actors.outbox.queues import dead_letter_queue

logger = logging.getLogger(__name__)

UNDECODABLE = "undecodable"
UNKNOWN_ACTOR = "unknown actor"
TOO_OLD = "too old"
REJECTED = "rejected"
# RabbitMQ's own reasons: https://www.rabbitmq.com/docs/dlx
RABBITMQS_REASONS = {"delivery_limit": "delivery limit", "expired": "expired", "maxlen": "overflow"}

# A row that stays locked for longer is being settled: the next round will find it gone.
LOCK_TIMEOUT_MS = 500
# Within this a redelivered letter is taken for the copy of one whose collector was killed before it acknowledged.
SAME_LETTER_WITHIN = timedelta(days=1)
# Rows that are decided on, and locked, in one transaction.
BATCH = 200
LONGEST_ID = 64
LONGEST_NAME = 100
# Bytes of a body that are shown.
LONGEST_DUMP = 4_096


class UnfitMessage(OutboxError):
    """Raised when a message cannot be run as it is: undecodable, of no known actor, or for a queue nobody consumes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """What came out of the queue of dead letters of `queue`. Anybody may have written it: no value is to be trusted."""

    queue: str
    body: bytes
    headers: dict[Any, Any]
    message_id: object = None
    actor: object = None
    is_redelivered: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """Why RabbitMQ gave a message up."""

    reason: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decider:
    """Who decides on dead letters."""

    name: str
    user_id: int | None = None


@dataclass(kw_only=True, slots=True)
class Decided:
    """What became of the rows that were to be decided on; those in neither had been decided on before."""

    decisions: list[DeadLetterDecision] = field(default_factory=list)

    refused: dict[int, str] = field(default_factory=dict)
    """Why a row stays dead, by its id."""


def collect(channel: Any, queue: str, *, at_most: int) -> int:
    """Write down what RabbitMQ gave up of `queue`; what must wait for a worker goes back and is collected later.

    Args:
        channel: a pika `BlockingChannel`.
        queue: the queue that the workers consume.
        at_most: messages to take.

    Returns:
        How many messages were acknowledged.

    Raises:
        OperationalError, InterfaceError: the database is away; the message stays RabbitMQ's.
        AMQPError: RabbitMQ is away, or has no such queue.
    """
    collected = 0
    waiting: list[int] = []
    try:
        for _ in range(at_most):
            method, properties, body = channel.basic_get(dead_letter_queue(queue), auto_ack=False)
            if method is None:
                break
            # Among those that go back until it is written down: a failure leaves it to RabbitMQ.
            waiting.append(method.delivery_tag)
            letter = Letter(
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


def write_down(letter: Letter) -> bool:
    """Make a row of a letter, or its row a dead one, and commit; return False if a worker may still settle it."""
    message, problem = _read(letter.body)
    # What no worker could decode still has its ticket among the headers.
    options = message.options if message is not None else {OPTION: _text(letter.headers.get(OPTION))}
    ticket, death = Ticket.of(options), _judge(letter, message, problem)
    try:
        with transaction.atomic(durable=True):
            if ticket is None:
                _add(letter, message, death)
                return True
            message_id = _text(letter.message_id if message is None else message.message_id, LONGEST_ID)
            return _end(ticket, message_id, death)
    except OperationalError as error:
        if lock_was_not_available(error):
            return False
        raise


def replay(rows: QuerySet[OutboxMessage], *, by: Decider, why: str, body: bytes | None = None) -> Decided:
    """Have dead letters published again, as a new attempt of each: late copies of earlier attempts do nothing.

    Args:
        rows: which; those that are not dead any more are passed over.
        by: who decides.
        why: what the record of the decision says.
        body: for a single row, another message in the place of its own.
    """
    assert body is None or len(rows) == 1
    kind = Decision.REPLAYED if body is None else Decision.EDITED
    return _decide(rows, lambda row: _revive(row, body), kind=kind, by=by, why=why)


def discard(rows: QuerySet[OutboxMessage], *, by: Decider, why: str) -> Decided:
    """Delete dead letters; the record of the decision keeps their messages."""

    def delete(row: OutboxMessage) -> None:
        OutboxMessage.objects.filter(pk=row.pk).delete()

    return _decide(rows, delete, kind=Decision.DISCARDED, by=by, why=why)


def fields_of(row: OutboxMessage) -> dict[str, Any]:
    """Return the fields of a row's message; of an undecodable one, what is known of it."""
    message, _ = _read(bytes(row.body))
    if message is None:
        message = Message(
            queue_name=row.queue,
            actor_name=row.actor,
            args=(),
            kwargs={},
            options={},
            message_id=row.message_id or generate_unique_id(),
        )
    return message.asdict()


def edit(row: OutboxMessage, changes: Any) -> bytes:
    """Return a row's message with some of its fields replaced, encoded and fit to be replayed.

    Raises:
        UnfitMessage: the changes make no message that a worker could run.
    """
    fields = fields_of(row)
    if not isinstance(changes, dict) or not changes.keys() <= fields.keys():
        raise UnfitMessage(f"a message is a JSON object of {', '.join(sorted(fields))}")
    fields |= changes
    if not isinstance(fields["args"], list | tuple):
        raise UnfitMessage("args is a list")
    body = Message(**fields).encode()
    message = require_fit(body)
    _require_queue(q_name(message.queue_name))
    return body


def require_fit(body: bytes) -> Message[Any]:
    """Return the message that `body` is, if a worker could run it.

    Raises:
        UnfitMessage: it says why not.
    """
    message, problem = _read(body)
    if message is None:
        raise UnfitMessage(f"it is no message: {problem}")
    if not _is_known(message.actor_name):
        raise UnfitMessage(f"there is no actor {_text(message.actor_name, LONGEST_NAME)!r}")
    if not (message.message_id.isascii() and message.message_id.isprintable() and message.message_id.strip()):
        raise UnfitMessage("its message_id is no printable ASCII text")
    if len(message.message_id) > LONGEST_ID:
        raise UnfitMessage(f"its message_id is longer than {LONGEST_ID} characters")
    return message


def legible(body: bytes) -> str:
    """Return a body for people: indented JSON, or a dump of its bytes where it is none."""
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "\n".join(_dump(body))
    return text.encode("utf-8", "backslashreplace").decode()


def _decide(
    rows: QuerySet[OutboxMessage], do: Callable[[OutboxMessage], None], *, kind: Decision, by: Decider, why: str
) -> Decided:
    decided = Decided()
    for batch in _batches(sorted(rows.values_list("pk", flat=True))):
        with transaction.atomic():
            # Locked: of two who decide at once the second finds nothing dead any more.
            for row in OutboxMessage.objects.filter(pk__in=batch, state=State.DEAD).order_by("pk").select_for_update():
                record = _record(row, kind=kind, by=by, why=why)
                try:
                    do(row)
                except UnfitMessage as error:
                    decided.refused[row.pk] = str(error)
                    continue
                record.save(force_insert=True)
                decided.decisions.append(record)
            _wake_relay_on_commit()
    for record in decided.decisions:
        logger.warning("dead letter %s row=%d by=%r", record.decision, record.row_id, record.decided_by)
    return decided


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _record(row: OutboxMessage, *, kind: Decision, by: Decider, why: str) -> DeadLetterDecision:
    return DeadLetterDecision(
        row_id=row.pk,
        message_id=row.message_id,
        queue=row.queue,
        actor=row.actor,
        subject=row.subject,
        reason=row.reason,
        error=row.error,
        body=bytes(row.body),
        decision=kind,
        decided_by=_text(by.name, 200),
        decided_by_id=by.user_id,
        why=_text(why),
    )


def _revive(row: OutboxMessage, edited: bytes | None) -> None:
    body = bytes(row.body) if edited is None else edited
    message = require_fit(body)
    queue = row.queue if edited is None else q_name(message.queue_name)
    _require_queue(queue)
    if _is_too_old(message):
        # It is sent anew: by its old time it would only die again.
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
        **NOBODYS,
    )


def _wake_relay_on_commit() -> None:
    from actors.outbox.thread import process_relay

    transaction.on_commit(process_relay.wake, robust=True)


def _end(ticket: Ticket, message_id: str, death: Death) -> bool:
    row = _lock(ticket.row_id)
    # Another id under the same number: the database was made anew since, and this is no message of its.
    if row is None or row.message_id != message_id or row.attempt != ticket.attempt or row.state == State.DEAD:
        logger.info("dead letter dropped row=%s: settled or superseded before", ticket)
        return True
    this = OutboxMessage.objects.filter(pk=row.pk)
    if this.filter(held_until__gt=Now()).exists():
        return False
    this.die(death.reason, error=death.error, traceback=row.traceback)
    logger.error("state=dead row=%s reason=%r", ticket, death.reason)
    return True


def _lock(row_id: int) -> OutboxMessage | None:
    rows = OutboxMessage.objects.filter(pk=row_id).only("message_id", "attempt", "state", "traceback")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
    return rows.select_for_update().first()


def _add(letter: Letter, message: Message[Any] | None, death: Death) -> None:
    queue = _text(letter.queue, LONGEST_NAME)
    same = OutboxMessage.objects.filter(
        state=State.DEAD, died_at__gte=Now() - SAME_LETTER_WITHIN, queue=queue, body=letter.body
    )
    if letter.is_redelivered and same.exists():
        return
    row = OutboxMessage.objects.create(
        message_id=_text(letter.message_id if message is None else message.message_id, LONGEST_ID),
        queue=queue,
        actor=_text(letter.actor if message is None else message.actor_name, LONGEST_NAME),
        body=letter.body,
        state=State.DEAD,
        died_at=Now(),
        reason=death.reason,
        error=death.error,
        subject=_text(letter.headers.get("subject"), LONGEST_NAME),
        request_id=_text(letter.headers.get("request_id"), LONGEST_NAME),
    )
    logger.error("state=dead row=%d reason=%r: it came from elsewhere", row.pk, death.reason)


def _read(body: bytes) -> tuple[Message[Any] | None, str]:
    """Return the message that a body is, or None and what is wrong with it."""
    try:
        message = Message.decode(body)
    except DecodeError as error:
        return None, _text(_describe_root(error), LONGEST_NAME * 10)
    is_well_formed = (
        isinstance(message.actor_name, str)
        and isinstance(message.queue_name, str)
        and isinstance(message.message_id, str)
        and isinstance(message.kwargs, dict)
        and isinstance(message.options, dict)
        and type(message.message_timestamp) is int
        and 0 <= message.message_timestamp < 1 << 53
    )
    return (message, "") if is_well_formed else (None, "a field of the message has a value of the wrong type")


def _describe_root(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {error}"


def _judge(letter: Letter, message: Message[Any] | None, problem: str) -> Death:
    cause, told = _rabbitmqs_words(letter.headers)
    if message is None:
        return Death(reason=UNDECODABLE, error=f"{problem}\n{told}")
    if cause in RABBITMQS_REASONS:
        return Death(reason=RABBITMQS_REASONS[cause], error=told)
    if not _is_known(message.actor_name):
        return Death(reason=UNKNOWN_ACTOR, error=f"there is no actor {_text(message.actor_name)!r}\n{told}")
    if _is_too_old(message):
        return Death(reason=TOO_OLD, error=f"it was sent at {message.message_datetime:%Y-%m-%d %H:%M:%S %Z}\n{told}")
    return Death(reason=REJECTED, error=told)


def _rabbitmqs_words(headers: dict[Any, Any]) -> tuple[str, str]:
    """Return RabbitMQ's reason for the latest death, and a sentence about it."""
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    cause = _text(latest.get("reason") or headers.get("x-first-death-reason"), LONGEST_NAME)
    if not cause:
        return "", "RabbitMQ gives no reason: it was put among the dead letters by hand."
    count = latest.get("count") if isinstance(latest.get("count"), int) else 1
    return cause, f"RabbitMQ: {cause} in queue {_text(latest.get('queue'), LONGEST_NAME)!r}, {count}×"


def _is_known(actor: str) -> bool:
    broker = dramatiq.get_broker()
    if actor not in broker.actors:
        _import_actors()
    return actor in broker.actors


def _require_queue(queue: str) -> None:
    broker = dramatiq.get_broker()
    if queue not in broker.get_declared_queues():
        _import_actors()
    if queue not in broker.get_declared_queues():
        raise UnfitMessage(f"no worker consumes the queue {_text(queue, LONGEST_NAME)!r}")


def _import_actors() -> None:
    """Import what a worker imports: other processes know only the actors to which they send."""
    autodiscover_modules(*getattr(settings, "DRAMATIQ_AUTODISCOVER_MODULES", ()))


def _is_too_old(message: Message[Any]) -> bool:
    broker = dramatiq.get_broker()
    usual = next((one.max_age for one in broker.middleware if isinstance(one, AgeLimit)), None)
    actor = broker.actors.get(message.actor_name)
    max_age = message.options.get("max_age") or (actor.options.get("max_age", usual) if actor else usual)
    return isinstance(max_age, int | float) and 0 < max_age <= current_millis() - message.message_timestamp


def _text(value: object, longest: int | None = None) -> str:
    """Return a stranger's value as text that every database takes; what is no text is empty."""
    if not isinstance(value, str):
        return ""
    return clean(value.encode("utf-8", "backslashreplace").decode())[:longest]


def _dump(body: bytes) -> Iterator[str]:
    for start in range(0, min(len(body), LONGEST_DUMP), 16):
        line = body[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<47}  {letters}"
    if len(body) > LONGEST_DUMP:
        yield f"… {len(body) - LONGEST_DUMP} bytes more"
