"""Files with users' data are their owner's alone: the SQLite database here, the log in `project.logs`.

Guarantee: what the service creates can be read by no other user of the machine, whatever the umask. Files that exist
keep the mode that their operator gave them; `make run` tightens its own.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import DatabaseWrapper

OTHERS = 0o077
# An SQLite database and the files beside it, which take its mode if they are made later.
SUFFIXES = ("", "-wal", "-shm", "-journal")


def database_files(connection: BaseDatabaseWrapper) -> list[Path]:
    """Return the files of an SQLite database that exist; none for one in memory, or for another database."""
    if not isinstance(connection, DatabaseWrapper) or connection.is_in_memory_db():
        return []
    names = (Path(f"{connection.settings_dict['NAME']}{suffix}") for suffix in SUFFIXES)
    return [name for name in names if name.is_file()]


def tighten(paths: Iterable[Path]) -> None:
    """Take the rights of all other users from files and directories, those in directories included."""
    for path in paths:
        for each in _with_contents(path):
            mode = each.stat().st_mode
            if mode & OTHERS:
                each.chmod(mode & ~OTHERS)


def _with_contents(path: Path) -> Iterator[Path]:
    if path.exists():
        yield path
        yield from (each for each in path.rglob("*") if not each.is_symlink())


def _tighten_new_database(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Tighten a database in which nothing is yet: SQLite has just made it, with the mode that the umask allows."""
    if database_files(connection):
        with connection.cursor() as cursor:
            is_new = cursor.execute("PRAGMA schema_version").fetchone() == (0,)
        if is_new:
            tighten(database_files(connection))  # looked for anew: the statement may have made some


def connect_signals() -> None:
    """Look at each new connection."""
    connection_created.connect(_tighten_new_database, dispatch_uid="project.private_files")
