"""Stops a worker process whose master has died: it would go on unnoticed beside the next pool."""

import logging
import os
import signal
import threading
import time

from dramatiq import Broker, Middleware

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class EndWithMaster(Middleware):
    """Middleware that sends its worker process SIGTERM when the pool's master process has died."""

    def after_process_boot(self, broker: Broker) -> None:
        threading.Thread(target=_watch, args=(os.getppid(),), name="end-with-master", daemon=True).start()


def _watch(master: int) -> None:
    while os.getppid() == master:
        time.sleep(POLL_SECONDS)
    logger.critical("the master of this pool is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
