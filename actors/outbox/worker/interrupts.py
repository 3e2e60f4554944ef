"""Dramatiq's time limits and shutdown notifications, made so that they can be lifted reliably.

Guarantee: an interruption that a thread has lifted is not raised in it any more. Dramatiq's own managers (2.2.1) raise
after they have released their lock, or without one, so an interruption could still arrive while the actor's outcome is
being written. `delivery` does the lifting.
"""

import ctypes
import threading
from collections.abc import Iterable
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import ShutdownNotifications, TimeLimit
from dramatiq.middleware.shutdown import _CtypesShutdownManager
from dramatiq.middleware.time_limit import _CtypesTimeoutManager

from actors.outbox.conf import conf


class Lifted(BaseException):
    """Takes the place of an interruption that was raised before it was lifted and that Python has not delivered yet."""


def lift(interrupter: TimeLimit | ShutdownNotifications, broker: Broker, message: MessageProxy) -> bool:
    """Stop an interrupter from raising in this thread; return whether it may have raised before."""
    interrupter.after_process_message(broker, message)  # type: ignore[no-untyped-call]
    manager = interrupter.manager
    return manager.interrupted.pop() if isinstance(manager, _TimeoutManager | _ShutdownManager) else True


def take_back_undelivered() -> None:
    """Drop an interruption that was raised in this thread and is not delivered yet: raise `Lifted` in its place.

    Clearing it (`PyThreadState_SetAsyncExc(thread, NULL)`) leaves CPython 3.11 and 3.12 looking for an exception for
    ever: under a profiler or a debugger the thread would hang.
    """
    try:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(Lifted))
        while True:
            pass
    except Lifted:
        pass


class LiftableTimeLimit(TimeLimit):
    """The TimeLimit middleware, whose timer raises under the lock that lifting takes.

    The default of its `time_limit` is `OUTBOX_TIME_LIMIT_MS`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"time_limit": conf.OUTBOX_TIME_LIMIT_MS, **options})
        if isinstance(self.manager, _CtypesTimeoutManager):
            self.manager = _TimeoutManager(self.manager.interval * 1000, logger=self.logger)


class LiftableShutdown(ShutdownNotifications):
    """The ShutdownNotifications middleware, which raises in all threads under the lock that lifting takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(self.manager, _CtypesShutdownManager):
            self.manager = _ShutdownManager(self.logger)


class _Interrupted:
    """The threads in which an interruption was raised since each last asked."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    def add(self, threads: Iterable[int]) -> None:
        self._threads.update(threads)

    def pop(self) -> bool:
        """Return whether an interruption was raised in this thread, and forget it."""
        thread = threading.get_ident()
        was_interrupted = thread in self._threads
        self._threads.discard(thread)
        return was_interrupted


class _TimeoutManager(_CtypesTimeoutManager):
    def __init__(self, interval: float, logger: Any) -> None:
        super().__init__(interval, logger)  # type: ignore[no-untyped-call]
        self.interrupted = _Interrupted()

    def _handle_deadlines(self) -> None:
        with self.mu:  # reentrant: Dramatiq's own method takes it too
            running = {thread for thread, deadline in self.deadlines.items() if deadline}
            super()._handle_deadlines()  # type: ignore[no-untyped-call]
            self.interrupted.add(thread for thread in running if not self.deadlines[thread])


class _ShutdownManager(_CtypesShutdownManager):
    def __init__(self, logger: Any) -> None:
        super().__init__(logger)  # type: ignore[no-untyped-call]
        self.interrupted = _Interrupted()
        self._mu = threading.Lock()

    def add_notification(self) -> None:
        with self._mu:
            super().add_notification()  # type: ignore[no-untyped-call]

    def remove_notification(self) -> None:
        with self._mu:
            super().remove_notification()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        with self._mu:
            self.interrupted.add(self.notifications)
            super().shutdown()  # type: ignore[no-untyped-call]
