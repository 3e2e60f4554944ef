"""The outages of the database, as the threads of this process that work in the background meet them."""

import logging

from actors.outbox.db.errors import sqlstate
from actors.outbox.outage import Outage

database_outage = Outage("database", level=logging.WARNING)


def report(part: str, error: BaseException, *, work: object = "") -> None:
    """Record that a part of this process waits for the database.

    Args:
        part: as for `Outage.fail`.
        error: a database error that may pass.
        work: what waits, in log fields.
    """
    fields = f"{work} " if str(work) else ""
    kind = sqlstate(error) or type(error).__name__
    database_outage.fail(part, f"{fields}reason={' '.join(str(error).split())!r}", kind=kind)
