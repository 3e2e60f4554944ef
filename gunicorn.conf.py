"""How `gunicorn project.wsgi` serves: threads, because a request mostly waits for its database."""

import os
import time
from typing import Any

from settings.api import STREAM_CLIENTS
from settings.environment import env
from settings.logging import LOGGING

bind = env.str("BIND", "127.0.0.1:8000")
workers = env.int("WEB_CONCURRENCY", 1)
threads = env.int("WEB_THREADS", 8) + STREAM_CLIENTS
worker_class = "gthread"
logconfig_dict = LOGGING
access_log_format = "%(m)s %({raw_uri}e)s %(s)s %(M)sms %(h)s request_id=%({x-request-id}o)s"
graceful_timeout = 5  # seconds for requests in flight once asked to stop
control_socket_disable = True

# Django sets its workers' clock to this zone; the lines of gunicorn's master tell the same time.
time_zone = os.environ["TZ"] = env.str("TIME_ZONE", "Asia/Tashkent")
time.tzset()


def post_worker_init(worker: Any) -> None:
    """Start the relay with the process: one that replaced another may not wait for a request, with messages owed."""
    from actors.outbox.thread import process_relay
    from actors.stream import process_tail

    # Whoever follows the activity would otherwise keep a process that is to end until it is killed.
    process_tail.is_stopping = lambda: not worker.alive
    process_relay.start()
