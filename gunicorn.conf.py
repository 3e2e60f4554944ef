"""How `gunicorn project.wsgi` serves: threads, because a request mostly waits for its database."""

import os

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = int(os.environ.get("WEB_THREADS", "8"))
worker_class = "gthread"
accesslog = os.environ.get("ACCESS_LOG") or None  # "-" is the terminal
graceful_timeout = 5  # seconds for requests in flight once asked to stop
control_socket_disable = True
