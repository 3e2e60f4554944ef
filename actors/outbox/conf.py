"""The outbox's Django settings: `conf.OUTBOX_QUEUE_TYPE` is the project's, or else the default below.

A setting is read at every use: tests can override it. Those of retries and of the time limit are read once, when
Dramatiq creates its middleware.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

QUORUM = "quorum"
CLASSIC = "classic"


class _Settings:
    OUTBOX_APPLICATION: str = "outbox"
    """The service's name in RabbitMQ's management UI."""

    OUTBOX_QUEUE_TYPE: str = QUORUM
    """The type of RabbitMQ's queues, `quorum` or `classic`."""

    OUTBOX_QUEUE_PREFIX: str = ""
    """What the names of all queues begin with in RabbitMQ: two installations on one vhost need different ones."""

    OUTBOX_FOREIGN_MESSAGES: bool = False
    """Whether workers run messages that another program published; if not, those become dead letters."""

    OUTBOX_RELAY_THREAD: bool = True
    """Whether web and worker processes run relay and upkeep threads."""

    OUTBOX_UPKEEP_SECONDS: float = 5.0
    """How often upkeep looks for messages that RabbitMQ has lost or dead-lettered."""

    OUTBOX_REPAIR_AFTER_SECONDS: float | None = None
    """How long after its queue was found empty an unsettled message is lost; None: `worker.limits` calculates it."""

    OUTBOX_PROBE_SECONDS: float = 60.0
    """How often a queue that another installation uses too is looked at by one worker, until it does not any more."""

    OUTBOX_CONSUMER_TIMEOUT_SECONDS: float = 1_800
    """RabbitMQ's `consumer_timeout`: how long a message may stay unacknowledged before RabbitMQ requeues it."""

    OUTBOX_MAX_RETRIES: int = 20
    """How often a failed message is retried, unless its actor sets `max_retries`."""

    OUTBOX_MIN_BACKOFF_MS: int = 1_000
    """The shortest pause before the first retry: jitter lengthens it up to twice, each retry doubles it."""

    OUTBOX_MAX_BACKOFF_MS: int = 600_000
    """The maximum pause before a retry."""

    OUTBOX_TIME_LIMIT_MS: int = 60_000
    """How long an actor may run, unless it sets `time_limit`."""

    OUTBOX_POSTGRESQL_SESSION: Mapping[str, str | int] = {"default_transaction_isolation": "read committed"}
    """What is set in each new PostgreSQL session: names and values as in `pg_settings`."""

    def __getattribute__(self, name: str) -> Any:
        return getattr(settings, name, super().__getattribute__(name))


conf = _Settings()
