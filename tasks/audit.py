"""Proves that every version of every task is logged exactly once, by comparing tasks, outbox and activity log.

Guarantee: one statement judges each range of ids, so it sees one snapshot of the database while changes go on. Each
suspect task is then examined again, under a lock. `manage.py activity verify` runs it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Max
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors.activity import SUBJECT, Details, log_task_creation, log_task_deletion, log_task_update
from actors.models import Activity, ActivityHorizon, Event
from actors.outbox.context import Context, sent_by
from actors.outbox.models import DeadLetterDecision, State
from actors.timeline import UNLOGGED, as_pending, owed
from tasks.history.changes import state_of
from tasks.history.locks import lock_chosen_ids
from tasks.models import Task, TaskQuerySet
from tasks.signals import message_of

RANGE = 50_000
REPAIRER = Context(changed_by="activity verify")

# A task is suspect unless its known versions, each logged once or on its way, form one unbroken sequence: from the
# first version, or the first that pruning has kept, to the task's own; or to its deletion, if the task is gone.
JUDGE = """
WITH known AS (
    SELECT task_id, version, 1 AS logged, 0 AS waiting, 0 AS dead,
           CASE WHEN event = 'task.deleted' THEN version ELSE 0 END AS deleted_at
    FROM actors_activity WHERE task_id BETWEEN %(first)s AND %(last)s
    UNION ALL
    SELECT task_id, sequence, 0, CASE WHEN state = 'dead' THEN 0 ELSE 1 END, CASE WHEN state = 'dead' THEN 1 ELSE 0 END,
           CASE WHEN actor = 'log_task_deletion' THEN sequence ELSE 0 END
    FROM ({owed}) AS owed WHERE task_id BETWEEN %(first)s AND %(last)s
), history AS (
    SELECT task_id, min(version) AS lowest, max(version) AS highest, count(DISTINCT version) AS versions,
           sum(logged) AS logged, count(DISTINCT CASE WHEN logged = 1 THEN version END) AS logged_versions,
           sum(waiting) AS waiting, sum(dead) AS dead, max(deleted_at) AS deleted_at
    FROM known GROUP BY task_id
), task AS (
    SELECT id, version, created_at < %(horizon)s AS is_old, updated_at < %(horizon)s AS is_quiet
    FROM tasks_task WHERE id BETWEEN %(first)s AND %(last)s
), judged AS (
    SELECT coalesce(id, task_id) AS id, coalesce(logged, 0) AS logged, coalesce(waiting, 0) AS waiting,
           coalesce(dead, 0) AS dead,
           CASE WHEN task_id IS NULL THEN coalesce(NOT is_quiet, TRUE)
                ELSE versions <> highest - lowest + 1 OR logged <> logged_versions OR dead > 0
                     OR lowest <> 1 AND NOT coalesce(is_old, %(is_pruned)s)
                     OR highest <> coalesce(version, deleted_at) OR deleted_at = coalesce(version, 0)
           END AS is_suspect
    FROM {joined}
)
SELECT 0, count(*), coalesce(sum(logged), 0), coalesce(sum(waiting), 0), coalesce(sum(dead), 0) FROM judged
UNION ALL
SELECT id, 0, 0, 0, 0 FROM judged WHERE is_suspect
"""
OWED = f"SELECT {{task_id}} AS task_id, sequence, state, actor FROM ({UNLOGGED}) AS unlogged"  # noqa: S608 – constants
NEXT = """
SELECT min(id) FROM (
    SELECT min(id) AS id FROM tasks_task WHERE id >= %(first)s
    UNION ALL SELECT min(task_id) FROM actors_activity WHERE task_id >= %(first)s
    UNION ALL SELECT min(task_id) FROM ({owed}) AS owed WHERE task_id >= %(first)s
) AS known
"""
TASK_ID = {
    "postgresql": "CASE WHEN subject ~ '^task:[0-9]{1,18}$' THEN substr(subject, 6)::bigint END",
    "sqlite": "CASE WHEN subject GLOB 'task:[0-9]*' AND substr(subject, 6) NOT GLOB '*[^0-9]*' "
    "AND length(subject) < 24 THEN CAST(substr(subject, 6) AS integer) END",
}


# SQLite has FULL JOIN from 3.39 on.
JOINED = {
    "postgresql": "task FULL JOIN history ON task_id = id",
    "sqlite": "(SELECT task.*, history.* FROM task LEFT JOIN history ON task_id = id UNION ALL "
    "SELECT task.*, history.* FROM history LEFT JOIN task ON id = task_id WHERE id IS NULL) AS joined",
}


@dataclass(kw_only=True)
class Totals:
    """Counts over the tasks that were judged."""

    tasks: int = 0

    logged: int = 0

    waiting: int = 0
    """Events whose messages are pending, published or scheduled."""

    dead: int = 0
    """Events whose messages are dead letters, awaiting an operator's decision."""


@dataclass(kw_only=True)
class Finding:
    """What is wrong with the history of one task."""

    task_id: int

    missing: list[int] = field(default_factory=list)
    """Versions that are neither in the log nor in the outbox."""

    dead: list[int] = field(default_factory=list)
    """Versions whose messages are dead letters."""

    doubled: list[int] = field(default_factory=list)

    stray: list[int] = field(default_factory=list)
    """Versions that are logged or sent, and higher than the task's own."""

    is_deletion_missing: bool = False
    """Whether the last missing version is the deletion of a task that is gone."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.dead or self.doubled or self.stray)

    def __str__(self) -> str:
        parts = [("not logged", self.missing), ("dead letters", self.dead), ("logged twice", self.doubled)]
        parts.append(("beyond the task's version", self.stray))
        problems = "; ".join(f"{what}: {_listed(versions)}" for what, versions in parts if versions)
        return f"task {self.task_id}: {problems}{' (the deletion)' if self.is_deletion_missing else ''}"


def ranges() -> Iterator[tuple[int, int]]:
    """Yield ranges of ids, as (first, last), that together cover every task that is known anywhere."""
    last = 0
    while first := _fetch(NEXT, first=last + 1)[0][0]:
        last = first + RANGE - 1
        yield first, last


def taken_over_at() -> datetime | None:
    """Return the time of the last transaction that this PostgreSQL server replayed as a standby or from an archive.

    None if it has done neither since its start.
    """
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_last_xact_replay_timestamp()")
        at: datetime | None = cursor.fetchone()[0]
    return at


def judge(first: int, last: int, totals: Totals) -> list[int]:
    """Return the ids of suspect tasks from `first` to `last`, and add the counts of all of them to `totals`."""
    horizon = _horizon()
    adapted = connection.ops.adapt_datetimefield_value(horizon)
    suspects = []
    for task_id, tasks, logged, waiting, dead in _fetch(
        JUDGE, first=first, last=last, horizon=adapted, is_pruned=horizon is not None
    ):
        if task_id:
            suspects.append(task_id)
        totals.tasks += tasks
        totals.logged += int(logged)
        totals.waiting += int(waiting)
        totals.dead += int(dead)
    return sorted(suspects)


def _fetch(statement: str, **values: Any) -> Any:
    with connection.cursor() as cursor:
        owed = OWED.format(task_id=TASK_ID[connection.vendor])
        cursor.execute(statement.format(owed=owed, joined=JOINED[connection.vendor]), values)
        return cursor.fetchall()


def examine(task_id: int) -> Finding:
    """Return what is wrong with a task's history, if anything is."""
    with transaction.atomic():
        return _History(task_id).finding()


def repair(task_id: int) -> tuple[list[int], Finding]:
    """Send again the missing events that can be restored.

    A discarded message is sent as it was. If a single version is missing and was not discarded, its change is derived
    from the task's states before and after it; who made it, when and in which request cannot be recovered.

    Returns:
        The versions that were sent, and what is still wrong.
    """
    with transaction.atomic(), sent_by(REPAIRER):
        history = _History(task_id)
        finding = history.finding()
        sent = [version for version in finding.missing if _send_discarded(task_id, version)]
        finding.missing = [version for version in finding.missing if version not in sent]
        if len(finding.missing) == 1 and not sent and history.send_derived(finding.missing[0]):
            sent = [*sent, *finding.missing]
            finding.missing = []
        return sent, finding


class _History:
    """One task, its messages and its logged events, read in the caller's transaction under locks that stop changes."""

    def __init__(self, task_id: int) -> None:
        self.task_id = task_id
        self.task = TaskQuerySet(Task).locked(task_id)
        if self.task is None:
            lock_chosen_ids()  # nothing else can create a task under this id again
            self.task = TaskQuerySet(Task).locked(task_id)  # if it was created between the two locks
        # The outbox first: a message that settles between the two reads is then found in the log.
        self.owed = {row.sequence or 0: row for row in owed([task_id]).order_by("state")}
        self.logged = list(Activity.objects.filter(task_id=task_id).order_by("version"))
        self.events = {version: as_pending(row) for version, row in self.owed.items()}
        self.events |= {row.version: row for row in self.logged}

    def finding(self) -> Finding:
        logged = [row.version for row in self.logged]
        finding = Finding(task_id=self.task_id)
        finding.doubled = sorted({version for version in logged if logged.count(version) > 1})
        finding.dead = sorted(v for v, row in self.owed.items() if row.state == State.DEAD and v not in set(logged))
        last = self.task.version if self.task else self._last_of_gone(finding)
        finding.missing = [v for v in range(self._first(last), last + 1) if v not in self.events]
        finding.stray = sorted(version for version in self.events if version > last)
        return finding

    def send_derived(self, version: int) -> bool:
        """Send the one missing event, derived from all others; return False if it cannot be derived."""
        last = self.task.version if self.task else max(self.events, default=version)
        before = self._replayed({}, range(1, version), to=1)
        after = self._replayed(state_of(self.task) if self.task else {}, range(last, version, -1), to=0)
        if before is None or after is None:
            return False
        changes = {name: [before.get(name), after.get(name)] for name in {**before, **after}}
        changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
        actor = log_task_update if before and after else log_task_creation if after else log_task_deletion
        shown = after or before
        details = Details(owner_id=shown["owner_id"], version=version, changes=changes)
        actor.broker.enqueue(message_of(actor, self.task_id, shown["title"], shown["owner"], details))
        return True

    def _last_of_gone(self, finding: Finding) -> int:
        highest = max(self.events, default=0)
        if not highest or self.events[highest].event == Event.TASK_DELETED:
            return highest
        finding.is_deletion_missing = True
        return highest + 1

    def _first(self, last: int) -> int:
        """Return the first version that must exist: earlier ones may have been pruned."""
        horizon = _horizon()
        if horizon is None or (self.task and self.task.created_at >= horizon):
            return 1
        if not self.events and self.task and self.task.updated_at < horizon:
            return last + 1
        return min(self.events, default=1)

    def _replayed(self, state: dict[str, Any] | None, versions: Iterable[int], *, to: int) -> dict[str, Any] | None:
        for version in versions:
            state = _moved(state, self.events.get(version), to=to)
        return state


def _moved(state: dict[str, Any] | None, event: Activity | None, *, to: int) -> dict[str, Any] | None:
    """Return a task's state after an event (`to=1`) or before it (`to=0`); {} where the task does not exist.

    None if the event cannot be applied: it is unknown, records no change, or contradicts the given state.
    """
    if state is None or event is None or not event.changes:
        return None
    if any(state.get(name) != pair[1 - to] for name, pair in event.changes.items() if name != "owner"):
        return None  # the owner's username is not compared: it may change without an event
    moved = {**state, **{name: pair[to] for name, pair in event.changes.items()}}
    ends = event.event == (Event.TASK_DELETED if to else Event.TASK_CREATED)
    if ends != (moved.get("title") is None):
        return None
    return {} if ends else moved


def _send_discarded(task_id: int, version: int) -> bool:
    for decision in DeadLetterDecision.objects.filter(subject=f"{SUBJECT}{task_id}").order_by("-pk"):
        try:
            message: Message[Any] = Message.decode(bytes(decision.body))
            is_it = message.options.get("sequence") == version
        except (DecodeError, AttributeError, TypeError):
            continue
        if is_it:
            log_task_creation.broker.enqueue(
                message.copy(options={"subject": f"{SUBJECT}{task_id}", "sequence": version})
            )
            return True
    return False


def _listed(versions: list[int]) -> str:
    """Return ascending numbers with runs of them joined: 1, 3–5."""
    runs: list[list[int]] = []
    for version in versions:
        if runs and version == runs[-1][-1] + 1:
            runs[-1].append(version)
        else:
            runs.append([version])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _horizon() -> datetime | None:
    """Return the time up to which the log was pruned."""
    last: datetime | None = ActivityHorizon.objects.aggregate(last=Max("before"))["last"]
    return last
