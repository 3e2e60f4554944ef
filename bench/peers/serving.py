"""How gunicorn serves the peers: `--config python:bench.peers.serving`, with the same processes and threads as ours."""

import os

from bench.sizes import WEB_PROCESSES, WEB_THREADS

bind = os.environ.get("BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = WEB_PROCESSES
threads = WEB_THREADS
control_socket_disable = True
