"""Dramatiq's time limits and shutdown notifications, lifted for certain: what has been lifted can no longer strike.

Dramatiq's own managers decide and raise without excluding those whom they are about to strike, so an interruption could
still come while the outcome of the actor is being written down. `delivery` lifts.
"""

import ctypes
import threading
from collections.abc import Iterable
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import ShutdownNotifications, TimeLimit
from dramatiq.middleware.shutdown import _CtypesShutdownManager
from dramatiq.middleware.time_limit import _CtypesTimeoutManager

from actors.outbox import conf


class Lifted(BaseException):
    """Raised in place of an interruption that was raised before it was lifted, and not delivered yet."""


def lift(interrupter: TimeLimit | ShutdownNotifications, broker: Broker, message: MessageProxy) -> bool:
    """Have this thread not be struck from now on; return whether it may have been until now."""
    interrupter.after_process_message(broker, message)  # type: ignore[no-untyped-call]
    manager = interrupter.manager
    return manager.struck.pop() if isinstance(manager, _TimeoutManager | _ShutdownManager) else True


def take_back_undelivered() -> None:
    """Have what was raised in this thread, and is not delivered, never be delivered: something else is in its place.

    To ask CPython 3.11 or 3.12 merely to forget it leaves them looking for it for ever; under a profiler or a debugger
    the thread would hang.
    """
    try:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(Lifted))
        while True:
            pass
    except Lifted:
        pass


class LiftableTimeLimit(TimeLimit):
    """The TimeLimit middleware, whose timer raises before anybody can lift; `OUTBOX_TIME_LIMIT_MS` is its default."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"time_limit": conf.time_limit_ms(), **options})
        if isinstance(self.manager, _CtypesTimeoutManager):
            self.manager = _TimeoutManager(self.manager.interval * 1000, logger=self.logger)


class LiftableShutdown(ShutdownNotifications):
    """The ShutdownNotifications middleware, which raises everywhere before anybody can lift."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.manager, _CtypesShutdownManager):
            self.manager = _ShutdownManager(self.logger)


class _Struck:
    """The threads that were struck since each last asked."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    def add(self, threads: Iterable[int]) -> None:
        self._threads.update(threads)

    def pop(self) -> bool:
        """Say whether this thread was struck, once."""
        thread = threading.get_ident()
        was_struck = thread in self._threads
        self._threads.discard(thread)
        return was_struck


class _TimeoutManager(_CtypesTimeoutManager):
    def __init__(self, interval: float, logger: Any) -> None:
        super().__init__(interval, logger)  # type: ignore[no-untyped-call]
        self.struck = _Struck()

    def _handle_deadlines(self) -> None:
        with self.mu:  # a lock that the same thread may take twice
            running = {thread for thread, deadline in self.deadlines.items() if deadline}
            super()._handle_deadlines()  # type: ignore[no-untyped-call]
            self.struck.add(thread for thread in running if not self.deadlines[thread])


class _ShutdownManager(_CtypesShutdownManager):
    def __init__(self, logger: Any) -> None:
        super().__init__(logger)  # type: ignore[no-untyped-call]
        self.struck = _Struck()
        self._mu = threading.Lock()

    def add_notification(self) -> None:
        with self._mu:
            super().add_notification()  # type: ignore[no-untyped-call]

    def remove_notification(self) -> None:
        with self._mu:
            super().remove_notification()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        with self._mu:
            self.struck.add(self.notifications)
            super().shutdown()  # type: ignore[no-untyped-call]
