"""How `gunicorn project.wsgi` serves: threads, because a request mostly waits for its database."""

from settings.environment import env

bind = env.str("BIND", "127.0.0.1:8000")
workers = env.int("WEB_CONCURRENCY", 1)
threads = env.int("WEB_THREADS", 8)
worker_class = "gthread"
accesslog = env.str("ACCESS_LOG", "") or None  # "-" is the terminal
graceful_timeout = 5  # seconds for requests in flight once asked to stop
control_socket_disable = True
