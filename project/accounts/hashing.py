"""How many passwords a process checks at once: a check takes a processor for a good part of a second, on purpose.

Guarantee: at most `LOGIN_HASHES` checks run at once in a process, and no thread waits for one of them to end. The other
threads, and processors, are left to requests that need no password.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from project.accounts.refusals import LoginBusy

logger = logging.getLogger(__name__)

# Refusals are logged no more often.
LOG_SECONDS = 60


class HashingSlots:
    """The places for checks of passwords in one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._log_after = 0.0
        self._own = threading.local()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold one place.

        Raises:
            LoginBusy: none is free.
        """
        with self._lock:
            if self._taken >= settings.LOGIN_HASHES:
                self._log()
                raise LoginBusy
            self._taken += 1
        self._own.is_held = True
        try:
            yield
        finally:
            self._own.is_held = False
            with self._lock:
                self._taken -= 1

    def is_held(self) -> bool:
        """Return whether this thread holds a place: a hash that it stores is another one of the password it checks."""
        return getattr(self._own, "is_held", False)

    def _log(self) -> None:
        if time.monotonic() >= self._log_after:
            self._log_after = time.monotonic() + LOG_SECONDS
            logger.warning("logins refused: this process checks %d passwords, its LOGIN_HASHES", self._taken)


hashing_slots = HashingSlots()
