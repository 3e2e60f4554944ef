"""Waits for a database that is away, and for rows that are locked: that is nobody's failure.

Guarantee: what is done patiently is done, fails by itself, or is left to RabbitMQ (`Unsettled`) when the worker stops.
"""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from actors.outbox.db.errors import database_is_away
from actors.outbox.db.transactions import give_up_open_transaction
from actors.outbox.exceptions import Unsettled
from actors.outbox.worker.retries import jittered_backoff

logger = logging.getLogger(__name__)

MIN_PATIENCE_MS = 100
MAX_PATIENCE_MS = 5_000

T = TypeVar("T")


def patiently(
    do: Callable[[], T],
    *,
    stopping: threading.Event,
    what: object,
    may_pass: Callable[[BaseException], bool] = database_is_away,
) -> T:
    """Do something in the database; where that is away, wait for it and do it again.

    Args:
        do: a whole transaction, or nothing that must not happen twice.
        stopping: set when there is no more time to wait.
        what: named in the log.
        may_pass: says of an error of the database's whether it is waited out.

    Raises:
        Unsettled: the database was still away when `stopping` was set.
    """
    waits = 0
    while True:
        try:
            give_up_open_transaction()
            return do()
        except Error as error:
            if not may_pass(error):
                raise
            delay_ms = jittered_backoff(waits, least_ms=MIN_PATIENCE_MS, longest_ms=MAX_PATIENCE_MS)
            logger.warning("waiting for the database message=%s waiting_ms=%d error=%s", what, delay_ms, error)
            connection.close()
            if stopping.wait(delay_ms / 1000):
                raise Unsettled from error
            waits += 1
