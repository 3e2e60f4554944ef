"""What can be set, in Django's settings, and what holds where nothing is.

Read whenever it is asked for, so that tests may change it.
"""

from typing import Any

from django.conf import settings

QUORUM = "quorum"
CLASSIC = "classic"


def application() -> str:
    """Return what RabbitMQ's management UI calls this service (`OUTBOX_APPLICATION`)."""
    return str(_setting("OUTBOX_APPLICATION", "outbox"))


def queue_type() -> str:
    """Return the kind of RabbitMQ's queues, `quorum` or `classic` (`OUTBOX_QUEUE_TYPE`)."""
    return str(_setting("OUTBOX_QUEUE_TYPE", QUORUM))


def threads_are_wanted() -> bool:
    """Say whether web and worker processes run a relay and upkeep of their own (`OUTBOX_RELAY_THREAD`)."""
    return bool(_setting("OUTBOX_RELAY_THREAD", True))


def upkeep_seconds() -> float:
    """Return how often somebody looks for what RabbitMQ has lost or given up (`OUTBOX_UPKEEP_SECONDS`)."""
    return float(_setting("OUTBOX_UPKEEP_SECONDS", 5.0))


def repair_after_seconds() -> float | None:
    """Return how long after a queue was seen empty what is still owed is lost (`OUTBOX_REPAIR_AFTER_SECONDS`).

    None, the default: a minute more than a message may sit in a worker, which `stays` knows.
    """
    wanted = _setting("OUTBOX_REPAIR_AFTER_SECONDS", None)
    return None if wanted is None else float(wanted)


def consumer_timeout_seconds() -> float:
    """Return after how long RabbitMQ takes back what is unacknowledged (`OUTBOX_CONSUMER_TIMEOUT_SECONDS`)."""
    return float(_setting("OUTBOX_CONSUMER_TIMEOUT_SECONDS", 1_800))


def max_retries() -> int:
    """Return how often a failed message is tried again unless its actor says otherwise (`OUTBOX_MAX_RETRIES`)."""
    return int(_setting("OUTBOX_MAX_RETRIES", 20))


def min_backoff_ms() -> int:
    """Return the longest pause before the first retry, in milliseconds (`OUTBOX_MIN_BACKOFF_MS`)."""
    return int(_setting("OUTBOX_MIN_BACKOFF_MS", 1_000))


def max_backoff_ms() -> int:
    """Return the longest pause before any retry, in milliseconds (`OUTBOX_MAX_BACKOFF_MS`)."""
    return int(_setting("OUTBOX_MAX_BACKOFF_MS", 600_000))


def time_limit_ms() -> int:
    """Return how long an actor may run unless it says otherwise, in milliseconds (`OUTBOX_TIME_LIMIT_MS`)."""
    return int(_setting("OUTBOX_TIME_LIMIT_MS", 60_000))


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, name, default)
