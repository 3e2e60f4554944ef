"""How large what is measured is, the same for ours and theirs.

Guarantee: what is not said here about ours is production's default.
"""

import secrets

CLIENTS = 8
WEB_PROCESSES = 2
WEB_THREADS = 8
# Ours and plain Dramatiq.
WORKER_PROCESSES = 2
WORKER_THREADS = 8
# Its default is one for each core; on two cores eight log a quarter more lines than two, and four as many as eight.
CELERY_PROCESSES = 8

# New in each run: production refuses one that is published.
SECRET_KEY = secrets.token_hex(32)
