"""How `gunicorn project.wsgi` serves: threads, because a request mostly waits for its database."""

import gc
import os
import resource
import time
from typing import Any

from settings.api import EXPORT_CLIENTS, STREAM_CLIENTS
from settings.environment import env
from settings.logging import LOGGING
from settings.proxies import TRUSTED_PROXIES

bind = env.str("BIND", "127.0.0.1:8000")
workers = env.int("WEB_CONCURRENCY", 1)
threads = env.int("WEB_THREADS", 8) + STREAM_CLIENTS + EXPORT_CLIENTS
worker_class = "project.web_server.gunicorn_internals.Worker"
logger_class = "project.web_server.logger.WebLogger"
logconfig_dict = LOGGING
graceful_timeout = 5  # seconds for requests in flight once asked to stop
keepalive = 2  # seconds for which a connection may wait for its next request
control_socket_disable = True

# From these addresses alone the scheme and the prefix of a request are believed; where none is named, also not from the
# clients of a Unix socket, all of which gunicorn would trust.
forwarded_allow_ips = ",".join(TRUSTED_PROXIES)
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"} if TRUSTED_PROXIES else {}
forwarder_headers = "SCRIPT_NAME" if TRUSTED_PROXIES else ""

# Django sets this time zone in the workers; here it is set for the log lines of gunicorn's master too.
time_zone = os.environ["TZ"] = env.str("TIME_ZONE", "Asia/Tashkent")
time.tzset()

# How many connections a process keeps; fewer if it may not open as many files. Each has one, two while a static file is
# sent slowly; the others are for the threads' connections to database, cache and RabbitMQ.
files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
files = max(files, 4096 if most == resource.RLIM_INFINITY else min(4096, most))
resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
worker_connections = max(threads, min(env.int("WEB_CONNECTIONS", 1000), (files - 8 * threads) // 2))


def post_worker_init(worker: Any) -> None:
    """Start the relay with the process: one that replaces a killed process publishes without waiting for a request."""
    from django.urls import reverse

    from actors.api.stream import process_tail
    from actors.outbox.background import background_threads
    from project.releases.schema import require_migrations

    require_migrations()
    # A process that is to end closes its streams; otherwise it would have to be killed.
    process_tail.is_stopping = lambda: not worker.alive
    background_threads.boot()
    reverse("root")  # imports all views
    # Modules and settings stay for good: the garbage collector need not examine them again and again.
    gc.freeze()
