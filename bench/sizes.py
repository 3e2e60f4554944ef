"""How large what is measured is, the same for ours and theirs.

Guarantee: what is not said here about ours is production's default.
"""

CLIENTS = 8
WEB_PROCESSES = 2
WEB_THREADS = 8
# Ours and plain Dramatiq.
WORKER_PROCESSES = 2
WORKER_THREADS = 8
# Its default is one for each core; on two cores eight log a quarter more lines than two, and four as many as eight.
CELERY_PROCESSES = 8

SECRET_KEY = "for-the-bench-only-and-long-enough-to-sign-a-token-without-a-warning"  # noqa: S105
