"""Settles many messages in one transaction, across a worker's threads: their rows are written for the actors.

Guarantee: nothing is settled whose rows are not written. A transaction that fails rolls back, and each of its messages
is done alone: only the guilty one fails. Whoever finds nobody committing commits for all who wait; while it does, the
next group gathers.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models, transaction
from dramatiq.middleware import SkipMessage

from actors.outbox import store
from actors.outbox.db.errors import locks_may_be_taken
from actors.outbox.db.inserts import insert_rows
from actors.outbox.db.transactions import discard_stray_transaction
from actors.outbox.envelope import AttemptRef
from actors.outbox.worker import delivery

logger = logging.getLogger(__name__)

MAX_GROUP = 100


@dataclass(kw_only=True, eq=False)
class Completion:
    """What an actor has done, to be settled."""

    ref: AttemptRef

    rows: Sequence[models.Model]

    follow_up: Callable[[], None]
    """Sends what comes next, in the same transaction."""

    is_done: bool = field(default=False, init=False)
    """Whether it is settled, or found to be settled or superseded before."""

    is_owed: bool = field(default=True, init=False)

    must_be_alone: bool = field(default=False, init=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be done for it in a group."""
        return self.is_done or self.must_be_alone


class GroupCommit:
    """The settlements of one process."""

    def __init__(self) -> None:
        self._gathering = threading.Lock()
        self._committing = threading.Lock()
        self._waiting: list[Completion] = []

    def settle(self, work: Completion) -> None:
        """Settle, together with whoever else is about to.

        Raises:
            SkipMessage: it was settled or superseded before; its rows are not written.
            Exception: whatever this very message's rows or follow-ups raise.
        """
        self.try_together([work])
        if work.must_be_alone:
            work.must_be_alone = False
            settle_together([work])
        if not work.is_owed:
            raise SkipMessage("settled or superseded before")

    def try_together(self, completions: Sequence[Completion]) -> None:
        """Settle, together with whoever else is about to; afterwards each is done, or must be alone."""
        left = [work for work in completions if not work.is_over]
        with self._gathering:
            self._waiting += left
        while any(not work.is_over for work in left):
            with self._committing:
                if any(not work.is_over for work in left):
                    group = self._take_group()
                    self._commit(group)
                    if not group:  # whoever took it was interrupted
                        _leave_alone(left)

    def _take_group(self) -> list[Completion]:
        with self._gathering:
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            return group

    def _commit(self, group: list[Completion]) -> None:
        try:
            settle_together(group)
        except Exception as error:  # noqa: BLE001 – each meets its own error, alone
            logger.info("group of %d rolled back, each is done alone: %s: %s", len(group), type(error).__name__, error)
        finally:
            _leave_alone(group)


def _leave_alone(completions: Sequence[Completion]) -> None:
    for work in completions:
        work.must_be_alone = not work.is_done


def settle_together(group: Sequence[Completion]) -> None:
    """Settle messages in one transaction: delete what is owed, write its rows, send its follow-ups."""
    # Joined to one that an actor has left open, it would be rolled back later, and everything be acknowledged before.
    discard_stray_transaction()
    with transaction.atomic(durable=True):
        owed = _owed(group)
        insert_rows([row for work in owed for row in work.rows])
        for work in owed:
            work.follow_up()
        store.delete([work.ref.row_id for work in owed])
    its_own = set(map(id, owed))
    for work in group:
        # In this order: its thread looks whether it was owed as soon as it is done.
        work.is_owed = id(work) in its_own
        work.is_done = True


def _owed(group: Sequence[Completion]) -> list[Completion]:
    with locks_may_be_taken():
        attempts = store.lock([work.ref.row_id for work in group], timeout_ms=delivery.LOCK_TIMEOUT_MS)
    # By attempt: of two copies in one group only one is owed, and an older attempt takes nothing from a newer one.
    completions = {work.ref: work for work in group}
    return [work for ref, work in completions.items() if attempts.get(ref.row_id) == ref.attempt]


def write(rows: Sequence[models.Model]) -> None:
    """Insert rows of any models, all or none."""
    with transaction.atomic():
        insert_rows(rows)


def rows_of(result: Any, *, actor_name: str) -> list[models.Model]:
    """Return the rows that an actor has returned: none, one, or several.

    Raises:
        TypeError: it returned something else.
    """
    if result is None:
        return []
    rows = [result] if isinstance(result, models.Model) else result
    if isinstance(rows, list | tuple) and all(isinstance(row, models.Model) for row in rows):
        return list(rows)
    raise TypeError(f"{actor_name} has returns_rows=True: it must return a model instance or a list of them.")
