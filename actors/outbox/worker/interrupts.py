"""Dramatiq's time limits and shutdown notifications, which can be lifted (cancelled) reliably here.

Guarantee: an interruption that a thread has lifted is not raised in it any more. Dramatiq's own could still arrive
while the actor's outcome is being written (`dramatiq_internals`). `delivery` lifts them.
"""

import ctypes
import threading
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import ShutdownNotifications, TimeLimit
from dramatiq.threading import is_gevent_active

from actors.outbox.conf import conf
from actors.outbox.worker.dramatiq_internals import ShutdownManager, TimeoutManager

NO_GEVENT = (
    "The outbox's workers need threads, which gevent has replaced: start rundramatiq without --use-gevent, or dramatiq "
    "in place of dramatiq-gevent."
)


class Lifted(BaseException):
    """Replaces an interruption that was raised before it was lifted and that Python has not delivered yet."""


class LiftableTimeLimit(TimeLimit):
    """The TimeLimit middleware, whose timer raises under the lock that lifting takes.

    The default of its `time_limit` is `OUTBOX_TIME_LIMIT_MS`.
    """

    def __init__(self, *, interval: int = 1000, **options: Any) -> None:
        super().__init__(**{"time_limit": conf.OUTBOX_TIME_LIMIT_MS, **options})
        self.manager = TimeoutManager(interval, self.logger)


class LiftableShutdown(ShutdownNotifications):
    """The ShutdownNotifications middleware, which raises in all threads under the lock that lifting takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.manager = ShutdownManager(self.logger)


def refuse_gevent() -> None:
    """Refuse to run a worker in a process in which gevent has replaced threads: no interruption could be taken back.

    Raises:
        SystemExit: with one sentence, which an exiting process prints.
    """
    if is_gevent_active():  # type: ignore[no-untyped-call]
        raise SystemExit(NO_GEVENT)


def lift(interrupter: TimeLimit | ShutdownNotifications, broker: Broker, message: MessageProxy) -> bool:
    """Stop an interrupter from raising in this thread; return whether it may have raised before."""
    interrupter.after_process_message(broker, message)  # type: ignore[no-untyped-call]
    manager = interrupter.manager
    if not isinstance(manager, TimeoutManager | ShutdownManager):
        return True
    thread = threading.get_ident()
    has_raised = thread in manager.interrupted
    manager.interrupted.discard(thread)
    return has_raised


def take_back_undelivered() -> None:
    """Drop an interruption that was raised in this thread and is not delivered yet: raise `Lifted` in its place.

    Clearing it (`PyThreadState_SetAsyncExc(thread, NULL)`) leaves CPython 3.11 and 3.12 looking for an exception
    endlessly: under a profiler or a debugger the thread would hang.
    """
    try:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(Lifted))
        while True:
            pass
    except Lifted:
        pass
