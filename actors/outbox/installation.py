"""The id of this installation, by which workers tell its messages from those of another one on the same vhost."""

from functools import cache

from actors.outbox.decoding import INSTALLATION
from actors.outbox.models import Installation


@cache
def installation_id() -> str:
    """Return the id, which is the database's own: made at its first use, and read once in each process.

    Called outside transactions: one that is rolled back would take the new id with it.

    Raises:
        OperationalError, InterfaceError: the database cannot be reached.
    """
    row, _is_new = Installation.objects.get_or_create(pk=1)
    return str(row.key)


def is_of_another(headers: object) -> bool:
    """Return whether a message with these headers was published by another installation."""
    found = headers.get(INSTALLATION) if isinstance(headers, dict) else None
    return found is not None and found != installation_id()
