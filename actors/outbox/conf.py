"""The outbox's Django settings and their defaults.

Each is read at every call, so that tests may change it. Those of retries and of the time limit are asked for once, when
Dramatiq makes its middleware.
"""

from typing import Any

from django.conf import settings

QUORUM = "quorum"
CLASSIC = "classic"


def application() -> str:
    """Return the service's name in RabbitMQ's management UI (`OUTBOX_APPLICATION`)."""
    return str(_setting("OUTBOX_APPLICATION", "outbox"))


def queue_type() -> str:
    """Return the type of RabbitMQ's queues, `quorum` or `classic` (`OUTBOX_QUEUE_TYPE`)."""
    return str(_setting("OUTBOX_QUEUE_TYPE", QUORUM))


def threads_are_wanted() -> bool:
    """Say whether web and worker processes have relay and upkeep threads (`OUTBOX_RELAY_THREAD`)."""
    return bool(_setting("OUTBOX_RELAY_THREAD", True))


def upkeep_seconds() -> float:
    """Return how often upkeep looks for messages that RabbitMQ has lost or given up (`OUTBOX_UPKEEP_SECONDS`)."""
    return float(_setting("OUTBOX_UPKEEP_SECONDS", 5.0))


def repair_after_seconds() -> float | None:
    """Return how long after a queue was seen empty a message still owed is lost (`OUTBOX_REPAIR_AFTER_SECONDS`).

    None, the default: a minute more than a message may be in a worker (`worker.limits`).
    """
    wanted = _setting("OUTBOX_REPAIR_AFTER_SECONDS", None)
    return None if wanted is None else float(wanted)


def consumer_timeout_seconds() -> float:
    """Return after how long RabbitMQ takes back an unacknowledged message (`OUTBOX_CONSUMER_TIMEOUT_SECONDS`)."""
    return float(_setting("OUTBOX_CONSUMER_TIMEOUT_SECONDS", 1_800))


def max_retries() -> int:
    """Return how often a failed message is retried, unless its actor says otherwise (`OUTBOX_MAX_RETRIES`)."""
    return int(_setting("OUTBOX_MAX_RETRIES", 20))


def min_backoff_ms() -> int:
    """Return the pause before the first retry, before jitter, in milliseconds (`OUTBOX_MIN_BACKOFF_MS`)."""
    return int(_setting("OUTBOX_MIN_BACKOFF_MS", 1_000))


def max_backoff_ms() -> int:
    """Return the maximum pause before a retry, in milliseconds (`OUTBOX_MAX_BACKOFF_MS`)."""
    return int(_setting("OUTBOX_MAX_BACKOFF_MS", 600_000))


def time_limit_ms() -> int:
    """Return how long an actor may run, unless it says otherwise, in milliseconds (`OUTBOX_TIME_LIMIT_MS`)."""
    return int(_setting("OUTBOX_TIME_LIMIT_MS", 60_000))


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, name, default)
