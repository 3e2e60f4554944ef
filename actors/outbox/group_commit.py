"""Settles many messages in one transaction, across a worker's threads: their rows are written for the actors.

Guarantee: nothing is settled whose rows are not written. A transaction that fails rolls back, and each of its messages
is done alone: only the guilty one fails. Whoever finds nobody committing commits for all who wait; while it does, the
next group gathers.
"""

import copy
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from django.db import OperationalError, models, transaction
from dramatiq.middleware import SkipMessage

from actors.outbox.delivery import for_update, wait_for_locks_as_usual, wait_for_locks_only_so_long
from actors.outbox.envelope import Ticket
from actors.outbox.models import OutboxMessage, State
from actors.outbox.outage import RowIsLocked, lock_was_not_available

logger = logging.getLogger(__name__)

LARGEST_GROUP = 100


@dataclass(kw_only=True, eq=False)
class Work:
    """What an actor has done, to be settled."""

    ticket: Ticket

    rows: Sequence[models.Model]

    follow_up: Callable[[], None]
    """Sends what comes next, in the same transaction."""

    is_done: bool = field(default=False, init=False)
    """Whether it is settled, or found to be settled or superseded before."""

    is_owed: bool = field(default=True, init=False)

    must_be_alone: bool = field(default=False, init=False)


class GroupCommit:
    """The settlements of one process."""

    def __init__(self) -> None:
        self._gathering = threading.Lock()
        self._committing = threading.Lock()
        self._waiting: list[Work] = []

    def settle(self, work: Work) -> None:
        """Settle, together with whoever else is about to.

        Raises:
            SkipMessage: it was settled or superseded before; its rows are not written.
            Exception: whatever this very message's rows or follow-ups raise.
        """
        with self._gathering:
            self._waiting.append(work)
        while not (work.is_done or work.must_be_alone):
            with self._committing:
                if not (work.is_done or work.must_be_alone):
                    group = self._take_group()
                    self._commit(group)
                    # Whoever took it was interrupted.
                    work.must_be_alone = work.must_be_alone or not group
        if work.must_be_alone:
            work.must_be_alone = False
            settle_together([work])
        if not work.is_owed:
            raise SkipMessage("settled or superseded before")

    def _take_group(self) -> list[Work]:
        with self._gathering:
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            return group

    def _commit(self, group: list[Work]) -> None:
        try:
            settle_together(group)
        except Exception as error:  # noqa: BLE001 – each meets its own error, alone
            logger.info("group of %d rolled back, each is done alone: %s: %s", len(group), type(error).__name__, error)
        finally:
            for work in group:
                work.must_be_alone = not work.is_done


def settle_together(group: Sequence[Work]) -> None:
    """Settle messages in one transaction: delete what is owed, write its rows, send its follow-ups."""
    with transaction.atomic(durable=True):
        owed = _owed(group)
        write([row for work in owed for row in work.rows])
        for work in owed:
            work.follow_up()
        OutboxMessage.objects.filter(pk__in=[work.ticket.row_id for work in owed]).delete()
    for work in group:
        work.is_owed = work in owed
        work.is_done = True


def _owed(group: Sequence[Work]) -> list[Work]:
    wait_for_locks_only_so_long()
    rows = OutboxMessage.objects.filter(pk__in=[work.ticket.row_id for work in group]).exclude(state=State.DEAD)
    # In one order everywhere, so that two groups never wait for each other.
    try:
        attempts = dict(for_update(rows.order_by("pk")).values_list("pk", "attempt"))
    except OperationalError as error:
        if lock_was_not_available(error):
            raise RowIsLocked(*error.args) from error
        raise
    wait_for_locks_as_usual()
    # By ticket: of two copies in one group only one is owed, and an older attempt's takes nothing from a newer one's.
    works = {work.ticket: work for work in group}
    return [work for ticket, work in works.items() if attempts.get(ticket.row_id) == ticket.attempt]


def write(rows: Sequence[models.Model]) -> None:
    """Insert rows of any models, all or none."""
    # Copies: a transaction that rolls back would leave in the originals ids that the database has taken back.
    copies = sorted(map(copy.copy, rows), key=lambda row: row._meta.label)
    with transaction.atomic():
        for _label, its_rows in groupby(copies, key=lambda row: row._meta.label):
            of_one_model = list(its_rows)
            type(of_one_model[0])._default_manager.bulk_create(of_one_model)


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
