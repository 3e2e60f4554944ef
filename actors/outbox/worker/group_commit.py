"""Settles the messages of a batch in one transaction, and inserts the rows that their actors returned.

Guarantee: a message is settled only together with its rows. A group whose transaction fails rolls back, and each of its
messages is settled alone: only the one at fault fails.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models, transaction
from dramatiq.middleware import SkipMessage

from actors.outbox import store
from actors.outbox.db.errors import RowIsLocked, database_is_unavailable
from actors.outbox.db.inserts import insert_rows
from actors.outbox.db.postgres import check_deferred_constraints
from actors.outbox.db.transactions import discard_stray_transaction
from actors.outbox.decoding import AttemptRef
from actors.outbox.worker import delivery
from actors.outbox.worker.log_buffer import SettledLine, buffered_lines, write_kept

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class Completion:
    """What an actor has done, ready to be settled: its rows and its follow-ups."""

    ref: AttemptRef

    rows: Sequence[models.Model]

    follow_up: Callable[[], None]
    """Sends the message's follow-ups; called in the transaction that settles it."""

    lines: Sequence[SettledLine] = ()
    """What it logged with `log_when_settled`."""

    is_done: bool = field(default=False, init=False)
    """Whether it is settled, by this completion or before."""

    was_unsettled: bool = field(default=True, init=False)
    """False if the message proved to be settled or superseded before: then nothing of this completion was written."""


def settle(completion: Completion) -> None:
    """Settle a completion, unless it is settled already.

    Raises:
        SkipMessage: the message was settled or superseded before; its rows are not written.
        Exception: this very message's rows or follow-ups failed, or the database did.
    """
    if not completion.is_done:
        settle_together([completion])
    if not completion.was_unsettled:
        raise SkipMessage("settled or superseded before")


def settle_batch(completions: Sequence[Completion]) -> None:
    """Settle completions together; if that fails, one by one, skipping those that would have to wait.

    None waits for another's lock. One that is not done afterwards raises its error again in `settle`, as its own.
    """
    try:
        settle_together(completions)
    except Exception as error:  # noqa: BLE001 – that of any completion
        logger.info(
            "group of %d rolled back, each is done alone: %s: %s", len(completions), type(error).__name__, error
        )
        _settle_alone(completions)


def _settle_alone(completions: Sequence[Completion]) -> None:
    for completion in completions:
        try:
            settle_together([completion])
        except RowIsLocked:
            continue
        except Exception as error:  # noqa: BLE001 – its own, which `settle` raises again
            if database_is_unavailable(error):
                return


def settle_together(group: Sequence[Completion]) -> None:
    """Settle a group in one transaction: insert the returned rows, send the follow-ups, delete the outbox rows.

    Raises:
        RowIsLocked: another transaction keeps the row of one of them locked; nothing is written.
        Exception: the rows or the follow-ups of one of them failed, or the database did; nothing is written.
    """
    # A transaction that an actor left open would enclose this one. Rolled back later, it would undo the group, whose
    # messages are acknowledged by then.
    discard_stray_transaction()
    with transaction.atomic(durable=True):
        unsettled = _lock_unsettled(group)
        insert_rows([row for completion in unsettled for row in completion.rows])
        for completion in unsettled:
            completion.follow_up()
        store.delete([completion.ref.row_id for completion in unsettled])
        log_before_commit([line for completion in unsettled for line in completion.lines])
    unsettled_ids = set(map(id, unsettled))
    for completion in group:
        completion.was_unsettled = id(completion) in unsettled_ids
        completion.is_done = True


def log_before_commit(lines: Sequence[SettledLine]) -> None:
    """Log what messages have done, as the last act of the transaction that settles them.

    Before the commit, because a worker that is killed after it would not log it any more; and after all else that may
    fail, because a line about what was rolled back would not be true.
    """
    if lines:
        check_deferred_constraints()
        with buffered_lines():
            write_kept(lines)


def _lock_unsettled(group: Sequence[Completion]) -> list[Completion]:
    attempts = store.lock([each.ref.row_id for each in group], timeout_ms=delivery.LOCK_TIMEOUT_MS)
    # By attempt: of two copies in one group only one counts, and an older attempt takes nothing from a newer one.
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
