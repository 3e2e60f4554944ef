"""Logs an outage once for all parts of a process that suffer from it.

Guarantee: however many connections and threads meet an outage, and however often they try again, it is one line when it
begins, one at each further kind of reason, and one when it ends: once no part fails any more. `amqp.outage` has those
of RabbitMQ and of its queues, `db.outage` that of the database.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

logger = logging.getLogger(__name__)


class Outage:
    """The outages of one thing, as the parts of this process see them; safe for any thread."""

    def __init__(self, what: str, *, level: int = logging.ERROR, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without an outage.

        Args:
            what: what may be unavailable, as each line begins.
            level: of the line at the beginning.
            clock: monotonic seconds.
        """
        self.describe_backlog: Callable[[], str] = str
        """Returns what the line at the end adds, in fields; called by the thread that ends the outage."""
        self._what = what
        self._level = level
        self._clock = clock
        self.reset()
        _outages.add(self)

    def reset(self) -> None:
        """Forget an outage without a line, as after a fork: the parts that failed are the parent's."""
        self._lock = threading.Lock()
        self._since: float | None = None
        self._failing: set[str] = set()
        self._kinds: set[str | None] = set()

    def fail(self, part: str, details: str, *, kind: str | None) -> None:
        """Record that a part fails; log it if nothing of this outage was logged, or nothing of this kind.

        Args:
            part: who fails, such as `relay`; its later `recover()` or `leave()` takes this back.
            details: the reason, in log fields.
            kind: what distinguishes reasons; None for one that says nothing new during an outage.
        """
        with self._lock:
            is_first, is_other = self._since is None, kind is not None and kind not in self._kinds
            if is_first:
                self._since = self._clock()
            self._failing.add(part)
            self._kinds.add(kind)
        if is_first:
            logger.log(self._level, "%s unavailable for=%r %s", self._what, part, details)
        elif is_other:
            logger.warning("%s still unavailable for=%r %s", self._what, part, details)

    def recover(self, part: str) -> None:
        """Record that a part has just succeeded; log the end of the outage if no other part fails."""
        if self._since is None:
            return
        with self._lock:
            self._failing.discard(part)
            if self._failing or self._since is None:
                return
            lasted = self._clock() - self._since
            self._since = None
            self._kinds.clear()
        backlog = self.describe_backlog()
        logger.info("%s available again after_seconds=%.1f%s", self._what, lasted, backlog and f" {backlog}")

    def leave(self, part: str) -> None:
        """Record that a part does not try any more. That is no end of an outage: the next success is."""
        with self._lock:
            self._failing.discard(part)


def reset_all() -> None:
    """Forget all outages without a line."""
    for each in _outages:
        each.reset()


_outages: WeakSet[Outage] = WeakSet()
os.register_at_fork(after_in_child=reset_all)
