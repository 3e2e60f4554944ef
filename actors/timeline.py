"""The history of one task: its logged events, and those whose messages are still in the outbox.

Guarantee: every event is returned once. An event is either in the outbox or in the log, because a worker settles its
message and logs it in one transaction. The outbox is read first, so that an event logged meanwhile is not missed.
"""

import json
from collections.abc import Iterable
from typing import Any

from django.db.models import Max, QuerySet
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors.activity import EVENT_OF_ACTOR, SUBJECT
from actors.models import SYSTEM, Activity
from actors.outbox.models import OutboxMessage, OutboxMessageQuerySet
from actors.outbox.store import NUMBERED, trail_of

# A subquery to embed in other statements: the messages whose events no worker has logged yet.
_ACTORS = ", ".join(f"'{name}'" for name in EVENT_OF_ACTOR)
UNLOGGED = f"SELECT subject, sequence, state, actor FROM ({NUMBERED}) AS numbered WHERE actor IN ({_ACTORS})"  # noqa: S608 – constants
ILLEGIBLE = (DecodeError, AttributeError, TypeError, ValueError, RecursionError)


def owed(task_ids: Iterable[int]) -> OutboxMessageQuerySet:
    """Return the outbox messages whose events about these tasks no worker has logged yet."""
    subjects = [f"{SUBJECT}{task_id}" for task_id in task_ids]
    return OutboxMessage.objects.filter(subject__in=subjects, actor__in=EVENT_OF_ACTOR, sequence__gt=0)


def last_versions(task_ids: Iterable[int]) -> dict[int, int]:
    """Return the last version of each task, logged or not, by task id; tasks without events are left out."""
    ids = list(task_ids)
    sent = {int(subject.removeprefix(SUBJECT)): last for subject, last in _last(owed(ids), "subject", "sequence")}
    logged = dict(_last(Activity.objects.filter(task_id__in=ids), "task_id", "version"))
    return {task_id: max(sent.get(task_id, 0), logged.get(task_id, 0)) for task_id in {*sent, *logged}}


def is_known(task_id: int) -> bool:
    """Return whether a task has any event, logged or not."""
    return owed([task_id]).exists() or Activity.objects.filter(task_id=task_id).exists()


def as_pending(row: OutboxMessage) -> Activity:
    """Return an unsaved activity: what the message's actor will log, as far as the row shows.

    Title, owner and changes are empty if the body cannot be decoded: an operator may have edited it.
    """
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
        published_at=row.published_at,  # not the trail's, which falls back to the time of the claim
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
        logged: the events in the log to choose from.
        owed: the messages of events that are not logged yet.
        bounds: lookups on the version, such as `{"lt": 12}`.
        upwards: True for the smallest versions, ascending; False for the largest, descending.
        limit: the most events to return.
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
        # Python's JSON decoder accepts NaN and lone surrogates, which no JSON response may contain.
        json.dumps([title, owner, details], ensure_ascii=False, allow_nan=False).encode()
    except ILLEGIBLE:
        return {"title": "", "owner": ""}
    details = details if isinstance(details, dict) else {}
    owner_id, changes = details.get("owner_id"), details.get("changes")
    pairs = changes.items() if isinstance(changes, dict) else ()
    return {
        "title": str(title),
        "owner": str(owner),
        "owner_id": owner_id if type(owner_id) is int else None,
        "changes": {name: pair for name, pair in pairs if isinstance(pair, list)},
    }


def _last(rows: Any, group: str, number: str) -> Any:
    return rows.order_by().values(group).annotate(last=Max(number)).values_list(group, "last")
