"""The background threads of a process: relay and upkeep.

By default every web and worker process runs both, so no separate relay process is needed.

Guarantee: a process that has started its threads has at most one of each; a thread that died is replaced at the next
start, and after a fork the child starts its own. `middleware` starts and stops them with a worker; a web process starts
them with its first request (`apps`), or earlier from a hook of the web server.
"""

import atexit
import os
import threading
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from actors.outbox import wakeup
from actors.outbox.conf import conf
from actors.outbox.db import session
from actors.outbox.maintenance.upkeep import UpkeepThread, make_upkeep_thread
from actors.outbox.relay.thread import RelayThread


class BackgroundThreads:
    """The relay and the upkeep of one process, which start and stop together."""

    _relay: RelayThread | None
    _upkeep: UpkeepThread | None

    def __init__(self) -> None:
        self._reset()

    def boot(self) -> None:
        """Start the threads with their process, and report in another thread what the database does not guarantee."""
        self.start()
        if _publishes():
            threading.Thread(target=session.report, name="outbox-session", daemon=True).start()

    def start(self, **_signal: Any) -> None:
        """Start the threads that are not running, unless `OUTBOX_RELAY_THREAD` is False or the broker is a test's."""
        with self._lock:
            if not (conf.OUTBOX_RELAY_THREAD and _publishes()):
                return
            if not _is_alive(self._relay):
                self._relay = RelayThread()
                self._relay.start()
                wakeup.register(self._relay.wake)
            if not _is_alive(self._upkeep):
                self._upkeep = make_upkeep_thread()
                self._upkeep.start()

    def stop(self) -> None:
        """Stop the threads that run."""
        with self._lock:
            threads = [thread for thread in (self._upkeep, self._relay) if thread is not None]
            for thread in threads:
                thread.request_stop()
            for thread in threads:
                thread.stop()
            wakeup.register(None)
            self._relay = self._upkeep = None

    def forget(self) -> None:
        """Drop the threads without stopping them: after a fork they and their connections belong to the parent."""
        self._reset()
        wakeup.register(None)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._relay = self._upkeep = None


def _publishes() -> bool:
    """Return whether there is a RabbitMQ to publish to: tests have a broker without one."""
    return isinstance(dramatiq.get_broker(), RabbitmqBroker)


def _is_alive(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.is_alive()


background_threads = BackgroundThreads()
os.register_at_fork(after_in_child=background_threads.forget)
# An exiting process closes its connections to RabbitMQ and releases its leases at once.
atexit.register(background_threads.stop)
