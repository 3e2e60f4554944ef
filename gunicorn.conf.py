"""How `gunicorn project.wsgi` serves: threads, because a request mostly waits for its database."""

import gc
import os
import resource
import threading
from typing import Any

from django.conf import settings
from environs import validate

from settings.environment import env

# All settings are read here, in the master, by the default of `project.wsgi`: a wrong one ends gunicorn with one line.
# They set the time zone of the master's log lines, too.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")
TRUSTED_PROXIES = settings.TRUSTED_PROXIES

bind = env.str("BIND", "127.0.0.1:8000")
workers = settings.WEB_CONCURRENCY
threads = env.int("WEB_THREADS", 8, validate=validate.Range(min=1)) + settings.STREAM_CLIENTS + settings.EXPORT_CLIENTS
worker_class = "project.web_server.gunicorn_internals.Worker"
logger_class = "project.web_server.logger.WebLogger"
logconfig_dict = settings.LOGGING
graceful_timeout = 5  # seconds for requests in flight once asked to stop
keepalive = 2  # seconds for which a connection may wait for its next request
control_socket_disable = True

# From these addresses alone the scheme and the prefix of a request are believed; where none is named, also not from the
# clients of a Unix socket, all of which gunicorn would trust.
forwarded_allow_ips = ",".join(TRUSTED_PROXIES)
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"} if TRUSTED_PROXIES else {}
forwarder_headers = "SCRIPT_NAME" if TRUSTED_PROXIES else ""

# How many connections a process keeps; fewer if it may not open as many files. Each has one, two while a static file is
# sent slowly; the others are for the threads' connections to database, cache and RabbitMQ.
files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
files = max(files, 4096 if most == resource.RLIM_INFINITY else min(4096, most))
resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
asked = env.int("WEB_CONNECTIONS", 1000, validate=validate.Range(min=1))
worker_connections = max(threads, min(asked, (files - 8 * threads) // 2))


def post_worker_init(worker: Any) -> None:
    """Start the relay with the process: one that replaces a killed process publishes without waiting for a request.

    The first process also logs which of its servers cannot be used.
    """
    from django.urls import reverse

    from actors.api.stream import process_tail
    from actors.outbox.background import background_threads
    from project.releases.schema import require_migrations
    from project.server_access import log_refusals

    require_migrations()
    # A process that is to end closes its streams; otherwise it would have to be killed.
    process_tail.is_stopping = lambda: not worker.alive
    background_threads.boot()
    reverse("root")  # imports all views
    if worker.age == 1:  # once, not in each worker
        used = ["RABBITMQ_URL", "CACHE_URL"] if settings.OUTBOX_RELAY_THREAD else ["CACHE_URL"]
        threading.Thread(target=log_refusals, args=used, daemon=True).start()
    # Modules and settings stay for good: the garbage collector need not examine them again and again.
    gc.freeze()
