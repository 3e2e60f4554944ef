"""What happened to one task, whether or not a worker has logged it yet: the log, and before it what is on its way.

Guarantee: an event is seen once. It is in the outbox or in the log, because a worker settles and logs in one
transaction; the outbox is read first, so that what moves on meanwhile is not missed.
"""

import json
from collections.abc import Iterable
from typing import Any

from django.db.models import Max, QuerySet
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors.activity import EVENT_OF_ACTOR
from actors.models import SYSTEM, Activity
from actors.outbox.models import OutboxMessage, OutboxMessageQuerySet
from actors.outbox.store import NUMBERED, trail_of

SUBJECT = "task:"
# To be embedded in statements: the messages whose events no worker has logged yet.
_ACTORS = ", ".join(f"'{name}'" for name in EVENT_OF_ACTOR)
UNLOGGED = f"SELECT subject, sequence, state, actor FROM ({NUMBERED}) AS numbered WHERE actor IN ({_ACTORS})"  # noqa: S608 – constants
ILLEGIBLE = (DecodeError, AttributeError, TypeError, ValueError, RecursionError)


def subject_of(task_id: int) -> str:
    """Return what messages about a task have as their subject."""
    return f"{SUBJECT}{task_id}"


def owed(task_ids: Iterable[int]) -> OutboxMessageQuerySet:
    """Return the messages about tasks that no worker has logged yet."""
    subjects = [subject_of(task_id) for task_id in task_ids]
    return OutboxMessage.objects.filter(subject__in=subjects, actor__in=EVENT_OF_ACTOR, sequence__gt=0)


def last_versions(task_ids: Iterable[int]) -> dict[int, int]:
    """Return the last version of each task of which anything is known, by the task's id."""
    ids = list(task_ids)
    sent = {int(subject.removeprefix(SUBJECT)): last for subject, last in _last(owed(ids), "subject", "sequence")}
    logged = dict(_last(Activity.objects.filter(task_id__in=ids), "task_id", "version"))
    return {task_id: max(sent.get(task_id, 0), logged.get(task_id, 0)) for task_id in {*sent, *logged}}


def is_known(task_id: int) -> bool:
    """Say whether anything ever happened to a task."""
    return owed([task_id]).exists() or Activity.objects.filter(task_id=task_id).exists()


def as_pending(row: OutboxMessage) -> Activity:
    """Return what a message will have logged, unsaved, as far as can be said before: an edited one may be illegible."""
    trail = trail_of(row)
    activity = Activity(
        message_id=row.message_id,
        event=EVENT_OF_ACTOR[row.actor],
        task_id=int(row.subject.removeprefix(SUBJECT)),
        version=row.sequence or 1,
        changed_by=row.changed_by or SYSTEM,
        changed_by_id=row.changed_by_id,
        request_id=row.request_id,
        occurred_at=trail.sent_at,
        published_at=row.published_at,  # not the trail's: taken up is not yet confirmed
        attempts=trail.attempts,
        **_decode(row),
    )
    activity.state = row.state
    activity.logged_at = None  # type: ignore[assignment]  # not yet
    return activity


def read(
    logged: QuerySet[Activity], owed: OutboxMessageQuerySet, *, bounds: dict[str, int], upwards: bool, limit: int
) -> list[Activity]:
    """Return events of one task in the order of versions, each once.

    Args:
        logged: those in the log to choose from.
        owed: the messages of those that are not.
        bounds: lookups on the version, such as `{"lt": 12}`.
        upwards: whether the smallest versions are wanted, first, or the largest.
        limit: at most so many.
    """
    sign = "" if upwards else "-"
    waiting = owed.filter(**{f"sequence__{lookup}": value for lookup, value in bounds.items()})
    done = logged.filter(**{f"version__{lookup}": value for lookup, value in bounds.items()})
    found = {row.version: row for row in map(as_pending, waiting.order_by(f"{sign}sequence")[:limit])}
    found |= {row.version: row for row in done.order_by(f"{sign}version")[:limit]}
    return [found[version] for version in sorted(found, reverse=not upwards)][:limit]


def _decode(row: OutboxMessage) -> dict[str, Any]:
    try:
        message: Message[Any] = Message.decode(bytes(row.body))
        _task_id, title, owner, *rest = message.args
        details = rest[0] if rest else message.kwargs.get("details")
        # Python takes NaN and halves of surrogate pairs for JSON; who is to be shown them does not.
        json.dumps([title, owner, details], ensure_ascii=False, allow_nan=False).encode()
    except ILLEGIBLE:
        return {"title": "", "owner": ""}
    return {"title": str(title), "owner": str(owner), **_decode_details(details if isinstance(details, dict) else {})}


def _decode_details(details: dict[str, Any]) -> dict[str, Any]:
    owner_id, changes = details.get("owner_id"), details.get("changes")
    pairs = changes.items() if isinstance(changes, dict) else ()
    return {
        "owner_id": owner_id if type(owner_id) is int else None,
        "changes": {name: pair for name, pair in pairs if isinstance(pair, list)},
    }


def _last(rows: Any, group: str, number: str) -> Any:
    return rows.order_by().values(group).annotate(last=Max(number)).values_list(group, "last")
