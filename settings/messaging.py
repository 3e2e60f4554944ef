"""RabbitMQ and Dramatiq: where messages go, which actors are found, what surrounds each of them."""

from typing import Any

from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq.middleware import AgeLimit, CurrentMessage, ShutdownNotifications, TimeLimit
from environs import ValidationError

from actors.outbox.middleware import Settlement
from actors.outbox.retries import OutboxRetries
from actors.workers import EndWithMaster
from settings.environment import env


def _is_amqp_url(url: str) -> None:
    if url and not url.startswith(("amqp://", "amqps://")):
        raise ValidationError("it must be an amqp:// or amqps:// address, such as amqp://user:password@host:5672/")


# `or`: an empty variable means the same as none.
RABBITMQ_URL = env.str("RABBITMQ_URL", "", validate=_is_amqp_url) or "amqp://guest:guest@127.0.0.1:5672/"

# An application's actors live in its module of this name: `actors/activity.py`.
DRAMATIQ_AUTODISCOVER_MODULES = ["activity"]
# Housekeeping of a table which only django_dramatiq's AdminMiddleware fills, and that is not used here.
DRAMATIQ_IGNORED_MODULES = ["django_dramatiq.tasks"]

TIME_LIMIT_MS = env.int("TIME_LIMIT_MS", 60_000)

# The whole list, in the order in which `before` hooks run; `after` hooks run from its end to its start. TimeLimit
# is last so that its deadline is lifted before the others do their work; database connections are tended around all.
# Pipelines and callbacks are missing on purpose: they are part of the effect, and settlement sends them.
DRAMATIQ_MIDDLEWARE = [
    EndWithMaster(),
    DbConnectionsMiddleware(),
    AgeLimit(),
    ShutdownNotifications(),
    CurrentMessage(),
    OutboxRetries(
        max_retries=env.int("MAX_RETRIES", 20),
        min_backoff=env.int("MIN_BACKOFF_MS", 1_000),
        max_backoff=env.int("MAX_BACKOFF_MS", 600_000),
    ),
    Settlement(),
    TimeLimit(time_limit=TIME_LIMIT_MS),
]

# A relay in every web and worker process; without it, `manage.py relay` has to run.
OUTBOX_RELAY_THREAD = env.bool("OUTBOX_RELAY_THREAD", True)

DRAMATIQ_BROKER: dict[str, Any] = {
    "BROKER": "actors.outbox.broker.OutboxRabbitmqBroker",
    "OPTIONS": {"url": RABBITMQ_URL},
    "MIDDLEWARE": DRAMATIQ_MIDDLEWARE,
}
