"""Dramatiq's time limits, lifted for certain: what has been lifted can no longer strike.

Dramatiq's own timer decides under its lock and raises after it has released it, so a deadline could still strike while
the outcome of the actor is being written down. `delivery` lifts.
"""

from typing import Any

from dramatiq.middleware import TimeLimit
from dramatiq.middleware.time_limit import _CtypesTimeoutManager


class LiftableTimeLimit(TimeLimit):
    """The TimeLimit middleware, whose timer raises before anybody can lift."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.manager, _CtypesTimeoutManager):
            self.manager = _Manager(self.manager.interval * 1000, logger=self.logger)  # type: ignore[no-untyped-call]


class _Manager(_CtypesTimeoutManager):
    def _handle_deadlines(self) -> None:
        with self.mu:  # a lock that the same thread may take twice
            super()._handle_deadlines()  # type: ignore[no-untyped-call]
