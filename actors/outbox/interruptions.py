"""Dramatiq's time limits and shutdown notifications, lifted for certain: what has been lifted can no longer strike.

Dramatiq's own managers decide and raise without excluding those whom they are about to strike, so an interruption could
still come while the outcome of the actor is being written down. `delivery` lifts.
"""

import threading
from typing import Any

from dramatiq.middleware import ShutdownNotifications, TimeLimit
from dramatiq.middleware.shutdown import _CtypesShutdownManager
from dramatiq.middleware.time_limit import _CtypesTimeoutManager


class LiftableTimeLimit(TimeLimit):
    """The TimeLimit middleware, whose timer raises before anybody can lift."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.manager, _CtypesTimeoutManager):
            self.manager = _TimeoutManager(self.manager.interval * 1000, logger=self.logger)  # type: ignore[no-untyped-call]


class LiftableShutdown(ShutdownNotifications):
    """The ShutdownNotifications middleware, which raises everywhere before anybody can lift."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.manager, _CtypesShutdownManager):
            self.manager = _ShutdownManager(self.logger)


class _TimeoutManager(_CtypesTimeoutManager):
    def _handle_deadlines(self) -> None:
        with self.mu:  # a lock that the same thread may take twice
            super()._handle_deadlines()  # type: ignore[no-untyped-call]


class _ShutdownManager(_CtypesShutdownManager):
    def __init__(self, logger: Any) -> None:
        super().__init__(logger)  # type: ignore[no-untyped-call]
        self._mu = threading.Lock()

    def add_notification(self) -> None:
        with self._mu:
            super().add_notification()  # type: ignore[no-untyped-call]

    def remove_notification(self) -> None:
        with self._mu:
            super().remove_notification()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        with self._mu:
            super().shutdown()  # type: ignore[no-untyped-call]
