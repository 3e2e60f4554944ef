"""RabbitMQ and Dramatiq: the broker and its middleware, the modules of actors, the outbox's settings."""

from typing import Any

from environs import validate

from settings.addresses import are_amqp_urls
from settings.environment import env

# `or`: an empty variable means the same as none.
RABBITMQ_URL = env.str("RABBITMQ_URL", "", validate=are_amqp_urls) or "amqp://guest:guest@127.0.0.1:5672/"

# An application's actors live in its module of this name: `actors/activity.py`.
DRAMATIQ_AUTODISCOVER_MODULES = ["activity"]
# Its actor cleans a table that only django_dramatiq's AdminMiddleware fills, which is not used here.
DRAMATIQ_IGNORED_MODULES = ["django_dramatiq.tasks"]

# Defaults of actors; each actor may set its own as an option.
OUTBOX_TIME_LIMIT_MS = env.int("TIME_LIMIT_MS", 60_000, validate=validate.Range(min=1))
OUTBOX_MAX_RETRIES = env.int("MAX_RETRIES", 20, validate=validate.Range(min=0))
OUTBOX_MIN_BACKOFF_MS = env.int("MIN_BACKOFF_MS", 1_000, validate=validate.Range(min=0))
OUTBOX_MAX_BACKOFF_MS = env.int("MAX_BACKOFF_MS", 600_000, validate=validate.Range(min=0))

# The whole list, in the order in which `before` hooks run; `after` hooks run from its end to its start. TimeLimit
# is last so that its deadline is lifted before the others' `after` hooks; database connections are checked around all.
# Pipelines and Callbacks are left out on purpose: follow-ups are part of the effect, and the outbox sends them.
DRAMATIQ_MIDDLEWARE = [
    "project.releases.schema.RequireMigrations",
    "actors.parent_watch.EndWithMaster",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
    "dramatiq.middleware.AgeLimit",
    "actors.outbox.worker.interrupts.LiftableShutdown",
    "dramatiq.middleware.CurrentMessage",
    "actors.outbox.worker.retries.OutboxRetries",
    "actors.outbox.middleware.OutboxMiddleware",
    "actors.outbox.worker.interrupts.LiftableTimeLimit",
]

# The name of this service in RabbitMQ's management UI.
OUTBOX_APPLICATION = "vazifa"

# Whether every web and worker process runs a relay; if not, `manage.py relay` has to run.
OUTBOX_RELAY_THREAD = env.bool("OUTBOX_RELAY_THREAD", True)

# The kind of RabbitMQ's queues: final from the first deploy on, because RabbitMQ changes no existing queue.
OUTBOX_QUEUE_TYPE = env.str("QUEUE_TYPE", "quorum", validate=validate.OneOf(["quorum", "classic"]))

# What the names of all queues begin with in RabbitMQ: two installations on one vhost need different ones.
OUTBOX_QUEUE_PREFIX = env.str(
    "QUEUE_PREFIX",
    "",
    validate=validate.Regexp(
        r"[A-Za-z0-9._-]{0,50}\Z", error="it must be at most 50 letters, digits, dots, dashes and underscores"
    ),
)
# Whether workers run messages that another program published; if not, those become dead letters.
OUTBOX_FOREIGN_MESSAGES = env.bool("FOREIGN_MESSAGES", False)

_POSITIVE = validate.Range(min=0, min_inclusive=False)
# Seconds. How often upkeep looks for messages that RabbitMQ has lost or dead-lettered.
OUTBOX_UPKEEP_SECONDS = env.float("UPKEEP_SECONDS", 5.0, validate=_POSITIVE)
# Seconds between two sightings of an empty queue after which its unsettled messages count as lost; None for a minute
# more than a message may be in a worker unacknowledged (`actors.outbox.worker.limits`).
OUTBOX_REPAIR_AFTER_SECONDS = env.float("REPAIR_AFTER_SECONDS", None, validate=_POSITIVE)
# RabbitMQ's `consumer_timeout`, in seconds: after it RabbitMQ takes back a delivery that was not acknowledged.
OUTBOX_CONSUMER_TIMEOUT_SECONDS = env.int("CONSUMER_TIMEOUT_SECONDS", 1_800, validate=_POSITIVE)

# django_dramatiq reads these two itself, and takes its defaults in place of a value that is no number.
for _name in ("DRAMATIQ_NPROCS", "DRAMATIQ_NTHREADS"):
    env.int(_name, None, validate=validate.Range(min=1))

DRAMATIQ_BROKER: dict[str, Any] = {
    "BROKER": "actors.outbox.broker.OutboxRabbitmqBroker",
    "OPTIONS": {"url": RABBITMQ_URL},
    "MIDDLEWARE": DRAMATIQ_MIDDLEWARE,
}
