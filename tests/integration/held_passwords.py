"""The development settings with a password hasher that tests can count, and hold up."""

import os
import time
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import MD5PasswordHasher

from settings.development import *  # noqa: F403 – as all settings do

PASSWORD_HASHERS = ["tests.integration.held_passwords.HeldHasher"]
# Read in each hashing process: a file that gets a byte for each hash, and one that has to exist before a hash is ready.
COMPUTED, MAY_END = "HASHES_COMPUTED", "HASHES_MAY_END"


class HeldHasher(MD5PasswordHasher):
    """Counts each hash, and computes it once that is allowed."""

    def encode(self, password: str, salt: str, *rest: Any) -> str:
        with Path(os.environ[COMPUTED]).open("ab") as computed:
            computed.write(b".")
        while not Path(os.environ[MAY_END]).exists():
            time.sleep(0.02)
        return super().encode(password, salt, *rest)
