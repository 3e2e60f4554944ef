"""How large everything is: the same web servers and clients for ours and theirs, and how long a run takes.

Guarantee: what is not said here about ours is production's default.
"""

from dataclasses import dataclass

CLIENTS = 8
WEB_PROCESSES = 2
WEB_THREADS = 8
# Ours and plain Dramatiq.
WORKER_PROCESSES = 2
WORKER_THREADS = 8
# Its default is one for each core; on two cores eight log a quarter more lines than two, and four as many as eight.
CELERY_PROCESSES = 8


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of it is measured."""

    request_rounds: int
    """Of creates and of reads: many short ones, since what else a machine does comes and goes within seconds."""

    creates: int
    """Requests a round."""

    reads: int

    pages: tuple[str, ...]

    peers: tuple[str, ...]
    """Whose web servers ours is measured beside; the first is the lesson's own."""

    workers: tuple[str, ...]
    """Whose workers."""

    work_rounds: int

    work_seconds: float
    """How long a round of workers lasts; how many messages that takes, a probe says."""


FULL = Extent(
    request_rounds=8,
    creates=400,
    reads=300,
    pages=("page of 5", "page of 100", "one task"),
    peers=("celery-redis", "celery-rabbitmq", "dramatiq"),
    workers=("celery-rabbitmq", "celery-rabbitmq-row", "celery-rabbitmq-row-reconnecting", "dramatiq", "dramatiq-row"),
    work_rounds=3,
    work_seconds=3.0,
)
QUICK = Extent(
    request_rounds=5,
    creates=200,
    reads=200,
    pages=("page of 5", "page of 100"),
    peers=("celery-redis",),
    workers=("celery-rabbitmq-row",),
    work_rounds=2,
    work_seconds=2.0,
)
