"""Changes of many tasks at once, told of like changes of one: `signals` hears of each row.

Guarantee: the change and everything told of it are one transaction; what cannot be told truthfully is refused.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import NotSupportedError, connections, models, transaction
from django.db.models import F, prefetch_related_objects
from django.db.models.signals import post_save
from django.utils import timezone

from actors.outbox.broker import batch_enqueue
from actors.outbox.db.inserts import insert_returning
from actors.timeline import last_versions
from tasks.history.changes import changes_between, tracked_fields
from tasks.history.locks import lock_history

if TYPE_CHECKING:
    from tasks.models import Task

# Tasks in memory at a time, and parameters of a query, of which a database takes some ten thousands.
CHUNK = 500

T = TypeVar("T")


class TaskQuerySet(models.QuerySet["Task"]):
    """Sends `post_save` for every row that it writes; deletions of many send `post_delete` as they always do."""

    def bulk_create(  # noqa: PLR0913, PLR0917 – Django's signature
        self,
        objs: Iterable["Task"],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list["Task"]:
        """Create the tasks, and tell of each.

        Raises:
            NotSupportedError: conflicts are to be ignored or to update, so nobody could say what was created.
        """
        if ignore_conflicts or update_conflicts:
            raise NotSupportedError("bulk_create() of tasks takes no conflicts: it could not tell what was created.")
        self._for_write = True
        tasks = list(objs)
        with transaction.atomic(using=self.db):
            self.number_new(tasks)
            created = super().bulk_create(tasks, batch_size)
            for chunk in _chunks(created):
                prefetch_related_objects(chunk, "owner")
                self._notify(chunk, created=True, fields=None)
        return created

    def update(self, **values: Any) -> int:
        """Update the tasks that match, and tell of each that changes; return how many match.

        Raises:
            NotSupportedError: ids or versions are to change, or many annotated tasks so that others match meanwhile.
        """
        if values.keys() & {"pk", "id"}:
            raise NotSupportedError("update() of tasks does not change ids: it could not tell which tasks changed.")
        if "version" in values:
            raise NotSupportedError("update() of tasks takes no version: it counts what is changed.")
        self._for_write = True
        super(TaskQuerySet, self.none()).update(**values)  # raises what Django refuses, also where nothing matches
        with transaction.atomic(using=self.db):
            # Which rows match is settled before any of them changes: an update may change what the filter finds.
            matching = self._lock_matching()
            for chunk in _chunks(matching):
                self._update_chunk(chunk, values)
        self._result_cache = None
        return len(matching)

    def locked(self, pk: int | None) -> "Task | None":
        """Return a task, locked until the end of the transaction; None if there is no such task."""
        # Alone: PostgreSQL judges a row that had to be waited for by the owner that it was joined with before, and one
        # that was handed over meanwhile would not be found.
        return None if pk is None else self._rows().select_for_update(no_key=True).filter(pk=pk).first()

    def number_new(self, tasks: Sequence["Task"]) -> None:
        """Give tasks that are to be created their first version: 1, or the next, if their id has a history."""
        chosen = sorted(task.pk for task in tasks if task.pk is not None)
        for pk in chosen:
            lock_history(pk)
        last = last_versions(chosen) if chosen else {}
        for task in tasks:
            task.version = last.get(task.pk, 0) + 1

    def _insert(self, objs: Sequence["Task"], **options: Any) -> list[tuple[Any, ...]]:
        """Insert what `save()` and `bulk_create()` are about to; one task alone by a prepared statement."""
        returned = options.get("returning_fields")
        if len(objs) == 1 and returned and not options.get("raw"):
            columns = [field.column for field in returned]
            row = insert_returning(objs[0], columns, using=options.get("using") or self.db)
            if row is not None:
                return [row]
        rows: list[tuple[Any, ...]] = super()._insert(objs, **options)  # type: ignore[misc]
        return rows

    def _lock_matching(self) -> list[int]:
        # In the order of ids, so that two updates never wait for each other. From outside this query, because a
        # query with DISTINCT or groups locks nothing.
        candidates = self._rows().filter(pk__in=self.values("pk")).select_for_update(no_key=True)
        locked = list(candidates.order_by("pk").values_list("pk", flat=True))
        if not connections[self.db].features.has_select_for_update:
            return locked
        # What had to be waited for may have ceased to match.
        return [pk for chunk in _chunks(locked) for pk in self._still_matching(chunk)]

    def _still_matching(self, pks: Sequence[int]) -> list[int]:
        return sorted(set(self.filter(pk__in=pks).values_list("pk", flat=True)))

    def _update_chunk(self, pks: Sequence[int], values: dict[str, Any]) -> None:
        # What is assigned may refer to an annotation, which only this query has.
        rows = self if self.query.annotations else self._rows()
        before = {task.pk: task for task in self._read(pks)}
        if super(TaskQuerySet, rows.filter(pk__in=pks)).update(**values) != len(pks):
            raise NotSupportedError("update() of annotated tasks must not change which of the others match.")
        changed = [task for task in self._read(pks) if self._note_changes(task, before[task.pk])]
        numbered = self._rows().filter(pk__in=[task.pk for task in changed])
        super(TaskQuerySet, numbered).update(
            version=F("version") + 1, updated_at=values.get("updated_at", timezone.now())
        )
        self._notify(changed, created=False, fields=frozenset(values))

    def _read(self, pks: Sequence[int]) -> "TaskQuerySet":
        return self._rows().filter(pk__in=pks).select_related("owner").order_by("pk")

    def _note_changes(self, task: "Task", before: "Task") -> bool:
        task.changes = changes_between(before, task, tracked_fields(task))
        task.version += 1
        return bool(task.changes)

    def _rows(self) -> "TaskQuerySet":
        return TaskQuerySet(self.model, using=self.db)

    def _notify(self, tasks: Iterable["Task"], *, created: bool, fields: frozenset[str] | None) -> None:
        with batch_enqueue():
            for task in tasks:
                post_save.send(
                    self.model, instance=task, created=created, raw=False, using=self.db, update_fields=fields
                )


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
