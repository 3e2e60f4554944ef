"""Settles messages of many worker threads in one transaction, and inserts the rows that their actors returned.

Guarantee: a message is settled only together with its rows. A group whose transaction fails rolls back, and each of its
messages is settled alone: only the one at fault fails. The first thread to take the commit lock commits for every
waiting thread; later ones form the next group.
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
    """What an actor has done, ready to be settled: its rows and its follow-ups."""

    ref: AttemptRef

    rows: Sequence[models.Model]

    follow_up: Callable[[], None]
    """Sends the message's follow-ups; called in the transaction that settles it."""

    is_done: bool = field(default=False, init=False)
    """Whether it is settled, by this completion or before."""

    is_owed: bool = field(default=True, init=False)
    """False if the message proved to be settled or superseded before: then nothing of this completion was written."""

    must_be_alone: bool = field(default=False, init=False)
    """Whether its group failed, or was left by the thread that took it, so that it has to be settled alone."""

    @property
    def is_over(self) -> bool:
        """Whether a group can do nothing more for it."""
        return self.is_done or self.must_be_alone


class GroupCommit:
    """Settles the completions of one worker process."""

    def __init__(self) -> None:
        self._waiting_lock = threading.Lock()
        self._committing = threading.Lock()
        self._waiting: list[Completion] = []

    def settle(self, completion: Completion) -> None:
        """Settle a completion, in a group with those of other threads if it can be.

        Raises:
            SkipMessage: the message was settled or superseded before; its rows are not written.
            Exception: this very message's rows or follow-ups failed, or the database did.
        """
        self.try_together([completion])
        if completion.must_be_alone:
            completion.must_be_alone = False
            settle_together([completion])
        if not completion.is_owed:
            raise SkipMessage("settled or superseded before")

    def try_together(self, completions: Sequence[Completion]) -> None:
        """Settle completions in groups with those of other threads; afterwards each is done or must be alone."""
        left = [each for each in completions if not each.is_over]
        with self._waiting_lock:
            self._waiting += left
        while any(not each.is_over for each in left):
            with self._committing:
                if any(not each.is_over for each in left):
                    group = self._take_group()
                    self._commit(group)
                    if not group:  # another thread took it, and was interrupted before it could commit
                        _leave_alone(left)

    def _take_group(self) -> list[Completion]:
        with self._waiting_lock:
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            return group

    def _commit(self, group: list[Completion]) -> None:
        try:
            settle_together(group)
        except Exception as error:  # noqa: BLE001 – each message meets its own error when it is settled alone
            logger.info("group of %d rolled back, each is done alone: %s: %s", len(group), type(error).__name__, error)
        finally:
            _leave_alone(group)


def _leave_alone(completions: Sequence[Completion]) -> None:
    for completion in completions:
        completion.must_be_alone = not completion.is_done


def settle_together(group: Sequence[Completion]) -> None:
    """Settle a group in one transaction: insert the returned rows, send the follow-ups, delete the outbox rows.

    Raises:
        RowIsLocked: another transaction keeps the row of one of them locked; nothing is written.
        Exception: the rows or the follow-ups of one of them failed, or the database did; nothing is written.
    """
    # A transaction that an actor left open would take this one in. Rolled back later, it would undo the group, whose
    # messages are acknowledged by then.
    discard_stray_transaction()
    with transaction.atomic(durable=True):
        owed = _owed(group)
        insert_rows([row for completion in owed for row in completion.rows])
        for completion in owed:
            completion.follow_up()
        store.delete([completion.ref.row_id for completion in owed])
    owed_ids = set(map(id, owed))
    for completion in group:
        # In this order: its thread reads `is_owed` as soon as `is_done` is set.
        completion.is_owed = id(completion) in owed_ids
        completion.is_done = True


def _owed(group: Sequence[Completion]) -> list[Completion]:
    with locks_may_be_taken():
        attempts = store.lock([each.ref.row_id for each in group], timeout_ms=delivery.LOCK_TIMEOUT_MS)
    # By attempt: of two copies in one group only one is owed, and an older attempt takes nothing from a newer one.
    completions = {each.ref: each for each in group}
    return [each for ref, each in completions.items() if attempts.get(ref.row_id) == ref.attempt]


def rows_of(result: Any, *, actor_name: str) -> list[models.Model]:
    """Return as a list the rows that an actor has returned: none, one, or several.

    Raises:
        TypeError: the actor returned something else.
    """
    if result is None:
        return []
    rows = [result] if isinstance(result, models.Model) else result
    if isinstance(rows, list | tuple) and all(isinstance(row, models.Model) for row in rows):
        return list(rows)
    raise TypeError(f"{actor_name} has returns_rows=True: it must return a model instance or a list of them.")
