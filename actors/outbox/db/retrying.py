"""Retries a database operation while the database is unavailable or a row is locked; a wait is not a failed attempt.

Guarantee: the operation succeeds, or raises an error that is not temporary, or the message is left for redelivery
because the worker stops (`LeaveForRedelivery`).
"""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from actors.outbox.backoff import jittered_backoff
from actors.outbox.db.errors import RowIsLocked, database_answers, database_is_unavailable
from actors.outbox.db.outage import database_outage, report
from actors.outbox.db.transactions import discard_stray_transaction, is_in_test_case
from actors.outbox.exceptions import ConnectionOfTestCaseClosed, LeaveForRedelivery

logger = logging.getLogger(__name__)

MIN_WAIT_MS = 100
MAX_WAIT_MS = 5_000

T = TypeVar("T")


def retry_until_available(
    operation: Callable[[], T],
    *,
    stopping: threading.Event,
    what: object,
    may_pass: Callable[[BaseException], bool] = database_is_unavailable,
) -> T:
    """Run a database operation; retry it with backoff while it fails with a temporary error.

    Args:
        operation: a whole transaction, or an operation that may run twice.
        stopping: set when the worker is to stop; a pause then ends at once.
        what: what waits, for log lines, such as `actor=… subject=…`. An outage is logged once (`outage`).
        may_pass: returns whether a database error is temporary: then the operation is retried.

    Returns:
        What the operation returned.

    Raises:
        ConnectionOfTestCaseClosed: in a project's tests, the connection of a test case's transaction is lost.
        LeaveForRedelivery: `stopping` was set before the operation succeeded.
        Exception: the operation's own error.
    """
    waits, part = 0, f"worker {threading.current_thread().name}"
    try:
        while True:
            try:
                discard_stray_transaction()
                result = operation()
            except Error as error:
                if not may_pass(error):
                    raise
                if is_in_test_case() and not database_answers():
                    raise ConnectionOfTestCaseClosed(
                        "The database connection of this test's transaction was lost, and no other can take its place: "
                        "find what closed it, or use TransactionTestCase, or django_db(transaction=True)."
                    ) from error
                delay_ms = int(jittered_backoff(waits, minimum=MIN_WAIT_MS, maximum=MAX_WAIT_MS))
                if database_is_unavailable(error) and not isinstance(error, RowIsLocked):
                    report(part, error, work=what)
                else:
                    logger.warning("waiting for the database %s waiting_ms=%d error=%r", what, delay_ms, str(error))
                if not is_in_test_case():
                    connection.close()
                if stopping.wait(delay_ms / 1000):
                    raise LeaveForRedelivery from error
                waits += 1
            else:
                database_outage.recover(part)
                return result
    finally:
        if waits:
            database_outage.leave(part)
