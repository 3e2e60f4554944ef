"""Changes of many tasks at once, told of like changes of one: `signals` hears of each row.

Guarantee: the change and everything told of it are one transaction; what cannot be told truthfully is refused.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import NotSupportedError, connections, models, transaction
from django.db.models import prefetch_related_objects
from django.db.models.signals import post_save

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
        with transaction.atomic(using=self.db):
            created = super().bulk_create(objs, batch_size)
            for chunk in _chunks(created):
                prefetch_related_objects(chunk, "owner")
                self._tell(chunk, created=True, fields=None)
        return created

    def update(self, **values: Any) -> int:
        """Update the tasks that match, and tell of each; return how many they are.

        Raises:
            NotSupportedError: ids are to change, or many annotated tasks so that others match meanwhile.
        """
        if values.keys() & {"pk", "id"}:
            raise NotSupportedError("update() of tasks does not change ids: it could not tell which tasks changed.")
        self._for_write = True
        super(TaskQuerySet, self.none()).update(**values)  # raises what Django refuses, also where nothing matches
        with transaction.atomic(using=self.db):
            # Which rows match is settled before any of them changes: an update may change what the filter finds.
            matching = self._lock_matching()
            for chunk in _chunks(matching):
                self._update_chunk(chunk, values)
        self._result_cache = None
        return len(matching)

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
        if super(TaskQuerySet, rows.filter(pk__in=pks)).update(**values) != len(pks):
            raise NotSupportedError("update() of annotated tasks must not change which of the others match.")
        updated = self._rows().filter(pk__in=pks).select_related("owner").order_by("pk")
        self._tell(updated, created=False, fields=frozenset(values))

    def _rows(self) -> "TaskQuerySet":
        return TaskQuerySet(self.model, using=self.db)

    def _tell(self, tasks: Iterable["Task"], *, created: bool, fields: frozenset[str] | None) -> None:
        for task in tasks:
            post_save.send(self.model, instance=task, created=created, raw=False, using=self.db, update_fields=fields)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
