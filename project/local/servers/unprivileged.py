"""Lets root run a program that refuses to be run by root, as an account without privileges.

An ordinary user needs none of this: the program runs as that user.
"""

import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from project.local.servers.errors import ServerUnavailable

PREFERRED_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account of this system."""

    name: str

    uid: int

    gid: int

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command for root that runs `command` as this account.

        Raises:
            ServerUnavailable: there is no `setpriv`.
        """
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ServerUnavailable(
                f"Root cannot act as {self.name}, there is no setpriv: install util-linux or use another account."
            )
        return [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--", *command]

    def can_reach(self, path: Path) -> bool:
        """Say whether this account may enter `path`, a directory, and every directory above it."""
        return all(self._may_enter(directory) for directory in (path.resolve(), *path.resolve().parents))

    def _may_enter(self, directory: Path) -> bool:
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def account_for_root() -> Account | None:
    """Return the account that root should use for programs which refuse root; None if this is not root."""
    if os.geteuid() != 0:
        return None
    for name in PREFERRED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServerUnavailable(f"Root needs an account named {' or '.join(PREFERRED_ACCOUNTS)} and there is none.")
