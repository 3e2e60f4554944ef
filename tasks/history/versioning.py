"""Models whose changes are numbered events, whether one row changes or many.

Guarantee: each change of a row that the ORM makes is one version, in one transaction with what the receivers of its
signals send; a change whose event could not be truthful is refused. `tasks.signals` sends, `changes` compares.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any, Self, TypeVar

from django.db import DatabaseError, NotSupportedError, connections, models, router, transaction
from django.db.models import F, prefetch_related_objects
from django.db.models.deletion import Collector
from django.db.models.signals import post_save
from django.utils import timezone

from actors.django_internals import QuickInsertQuerySet, forget_results, use_database_to_write
from actors.outbox.broker import batch_enqueue
from actors.timeline import last_versions
from tasks.history.changes import PendingChange, tracked_fields
from tasks.history.locks import lock_chosen_ids

# Rows in memory at a time, and ids in a query: a database takes some ten thousands of parameters.
CHUNK = 500
# More rows than this, changed by one call, are a mass change.
MASS = 100

T = TypeVar("T")
M = TypeVar("M", bound="VersionedModel")


class VersionedQuerySet(QuickInsertQuerySet[M]):
    """Sends `post_save` for every row that it writes and `pre_delete` for every row that it deletes.

    An `update()` or `delete()` is one transaction, with `CHUNK` rows and the ids of all in memory. It locks rows alone;
    a creation with chosen ids locks one name for all of them.
    """

    def bulk_create(self, objs: Iterable[M], *args: Any, **options: Any) -> list[M]:
        """Create rows, and send `post_save` for each.

        Raises:
            NotSupportedError: with `ignore_conflicts` or `update_conflicts`, which hide what was created.
        """
        # Django's positional order is batch_size, ignore_conflicts, update_conflicts.
        if options.get("ignore_conflicts") or options.get("update_conflicts") or any(args[1:3]):
            raise NotSupportedError("bulk_create() of tasks takes no conflicts: it could not tell what was created.")
        use_database_to_write(self)
        tasks = list(objs)
        chosen = [task for task in tasks if task.pk is not None]
        for task in tasks:
            task.version = 1
        with transaction.atomic(using=self.db):
            if chosen:
                lock_chosen_ids()
            created = super().bulk_create(tasks, *args, **options)
            # The inserts have waited for all deletions of these ids, so the events of those are visible now.
            for chunk in _chunks(chosen):
                self._continue_histories(chunk)
            for chunk in _chunks(created):
                prefetch_related_objects(chunk, "owner")
                changes = [PendingChange(before=None, after=task, is_mass=len(tasks) > MASS) for task in chunk]
                self._notify(changes, created=True)
        return created

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows that match, and send their signals; return how many were deleted, as Django does."""
        use_database_to_write(self)
        deleted: Counter[str] = Counter()
        with transaction.atomic(using=self.db):
            super(VersionedQuerySet, self.none()).delete()  # raises what Django refuses
            matching = self._lock_matching()
            for chunk in _chunks(matching):
                deleted.update(self._delete_chunk(chunk, is_mass=len(matching) > MASS))
        forget_results(self)
        return deleted.total(), dict(deleted)

    delete.alters_data = True  # type: ignore[attr-defined]  # as Django's: templates do not call it,
    delete.queryset_only = True  # type: ignore[attr-defined]  # and managers do not have it

    def update(self, **values: Any) -> int:
        """Update the rows that match, and send `post_save` for each that changes; return how many match.

        Raises:
            NotSupportedError: for a change of ids or versions, or of annotated rows so that fewer of them match.
        """
        if values.keys() & {"pk", "id"}:
            raise NotSupportedError("update() of tasks does not change ids: it could not tell which tasks changed.")
        if "version" in values:
            raise NotSupportedError("update() of tasks takes no version: it counts what is changed.")
        use_database_to_write(self)
        super(VersionedQuerySet, self.none()).update(**values)  # raises what Django refuses, even if nothing matches
        with transaction.atomic(using=self.db):
            # The rows are chosen before any of them changes: an update may change what the filter finds.
            matching = self._lock_matching()
            for chunk in _chunks(matching):
                self._update_chunk(chunk, values, is_mass=len(matching) > MASS)
        forget_results(self)
        return len(matching)

    def locked(self, pk: int | None) -> M | None:
        """Return a row, locked until the end of the transaction; None if it does not exist."""
        # Without joins: after waiting for a lock, PostgreSQL checks the row against the owner that it was joined with
        # before, and does not find a task that was given to another owner meanwhile.
        return None if pk is None else self._rows().select_for_update(no_key=True).filter(pk=pk).first()

    def _continue_histories(self, tasks: Sequence[M]) -> None:
        """Give new rows whose ids have a history the version after its last one."""
        last = last_versions(task.pk for task in tasks)
        for task in tasks:
            task.version = last.get(task.pk, 0) + 1
        for version in sorted(set(last.values())):
            continued = self._rows().filter(pk__in=[pk for pk in last if last[pk] == version])
            super(VersionedQuerySet, continued).update(version=version + 1)

    def _lock_matching(self) -> list[int]:
        # In the order of ids, so that two updates cannot deadlock. This query becomes a subquery, because a query with
        # DISTINCT or GROUP BY cannot lock rows.
        candidates = self._rows().filter(pk__in=self.values("pk")).select_for_update(no_key=True)
        locked = list(candidates.order_by("pk").values_list("pk", flat=True))
        if not connections[self.db].features.has_select_for_update:
            return locked
        # A row may no longer match once its lock was waited for.
        return [pk for chunk in _chunks(locked) for pk in self._still_matching(chunk)]

    def _still_matching(self, pks: Sequence[int]) -> list[int]:
        return sorted(set(self.filter(pk__in=pks).values_list("pk", flat=True)))

    def _delete_chunk(self, pks: Sequence[int], *, is_mass: bool) -> dict[str, int]:
        tasks = list(self._read(pks))
        collector = Collector(using=self.db, origin=self)
        collector.collect(tasks)
        with batch_enqueue(), ExitStack() as stack:
            for task in tasks:
                stack.enter_context(task.handing(PendingChange(before=task, after=None, is_mass=is_mass)))
            return collector.delete()[1]

    def _update_chunk(self, pks: Sequence[int], values: dict[str, Any], *, is_mass: bool) -> None:
        # An assigned expression may refer to an annotation, which only this query has.
        rows = self if self.query.annotations else self._rows()
        before = {task.pk: task for task in self._read(pks)}
        if super(VersionedQuerySet, rows.filter(pk__in=pks)).update(**values) != len(pks):
            raise NotSupportedError("update() of annotated tasks must not change which of the others match.")
        read = [PendingChange(before=before[task.pk], after=task, is_mass=is_mass) for task in self._read(pks)]
        changes = [change for change in read if change.changes]
        for change in changes:
            change.row.version += 1
        numbered = self._rows().filter(pk__in=[change.row.pk for change in changes])
        super(VersionedQuerySet, numbered).update(
            version=F("version") + 1, updated_at=values.get("updated_at", timezone.now())
        )
        self._notify(changes, created=False, fields=frozenset(values))

    def _read(self, pks: Sequence[int]) -> Self:
        return self._rows().filter(pk__in=pks).select_related("owner").order_by("pk")

    def _rows(self) -> Self:
        return type(self)(self.model, using=self.db)

    def _notify(
        self, changes: Iterable[PendingChange[M]], *, created: bool, fields: frozenset[str] | None = None
    ) -> None:
        with batch_enqueue():
            for change in changes:
                with change.row.handing(change):
                    post_save.send(
                        self.model,
                        instance=change.row,
                        created=created,
                        raw=False,
                        using=self.db,
                        update_fields=fields,
                    )


class VersionedModel(models.Model):
    """A row each of whose changes is a version, numbered without gap or repeat.

    Receivers of its signals send the events. A change and what they send are one transaction, wherever the change is
    made; the row is locked first, so that no two changes get the same number.
    """

    version: "models.PositiveIntegerField[Any, Any]"
    """How many changes the row has had, its creation included. Each version is the event of that number."""

    pending_change: "PendingChange[Self] | None" = None
    """While receivers of `post_save` and `pre_delete` run: the change that they are called for."""

    class Meta:
        abstract = True

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the row as its next version; a save that changes nothing writes nothing and sends no signal.

        Raises:
            DatabaseError: with `force_update` or `update_fields`, the row does not exist.
        """
        using = using or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            before = None if force_insert else self._rows(using).locked(self.pk)
            if before is None and (force_update or update_fields is not None):
                raise DatabaseError("The row to be updated does not exist.")
            if before is None and self.pk is not None:
                self._rows(using).bulk_create([self])  # it knows the versions of an id that was used before
                return
            if before is None:
                self.version = 1
                change = PendingChange(before=None, after=self)
            else:
                change = PendingChange(before=before, after=self._applied_to(before, update_fields))
                has_changed = bool(change.changes)
                self.version = change.row.version = before.version + has_changed
                if not has_changed:
                    return
            if update_fields is not None:
                update_fields = {*update_fields, "version", "updated_at"}
            with self.handing(change):
                super().save(
                    force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields
                )

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the row, as it is now; if another transaction has deleted it first, do nothing and send no signal."""
        using = using or router.db_for_write(type(self), instance=self)
        rows = self._rows(using)
        with transaction.atomic(using=using):
            # The second look finds a row that was created anew while the first one waited for its deletion.
            before = rows.locked(self.pk) or rows.locked(self.pk)
            if before is None and self.pk is not None:
                return 0, {self._meta.label: 0}
            with self.handing(PendingChange(before=before, after=None)):
                return super().delete(using, keep_parents)

    @contextmanager
    def handing(self, change: "PendingChange[Self]") -> Iterator[None]:
        """Hand a change to the receivers that are called inside; one of them may save this instance again."""
        outer, self.pending_change = self.pending_change, change
        try:
            yield
        finally:
            self.pending_change = outer

    def _applied_to(self, before: Self, update_fields: Iterable[str] | None) -> Self:
        """Return the row as it will be stored: `before`, with the values of this instance that are saved."""
        names = set(tracked_fields(self)) - self.get_deferred_fields()
        if update_fields is not None:
            names &= {self._meta.get_field(name).name for name in update_fields}
        self._evaluate(names, before)
        after = copy(before)
        for name in names:
            attribute = self._meta.get_field(name).attname  # type: ignore[union-attr]
            setattr(after, attribute, getattr(self, attribute))
        return after

    def _evaluate(self, names: Iterable[str], before: Self) -> None:
        """Replace expressions such as `F("title")` by their values, which can be compared."""
        expressions = {
            f"value_of_{name}": getattr(self, name) for name in names if hasattr(self.__dict__.get(name), "as_sql")
        }
        if expressions:
            rows = self._rows(before._state.db).filter(pk=before.pk)
            for name, value in rows.values(**expressions).get().items():
                setattr(self, name.removeprefix("value_of_"), value)

    def _rows(self, using: str | None) -> VersionedQuerySet[Self]:
        return VersionedQuerySet(type(self), using=using)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
