"""System checks: refuse a configuration with which the outbox could not keep its guarantees.

Django runs them before `rundramatiq`, `check`, `migrate` and most other commands. `apps` registers them.
"""

from typing import Any

import dramatiq
from django.core import checks
from django_dramatiq.middleware import AdminMiddleware
from dramatiq import Broker, Middleware
from dramatiq.middleware import Callbacks, GroupCallbacks, Pipelines, Retries, TimeLimit

from actors.outbox import conf
from actors.outbox.broker import OutboxMixin
from actors.outbox.discovery import import_actors
from actors.outbox.middleware import OutboxMiddleware
from actors.outbox.worker.limits import max_unacked_seconds
from actors.outbox.worker.retries import OutboxRetries

REQUIRED = (OutboxMiddleware, OutboxRetries)
FOLLOW_UPS = (Pipelines, Callbacks, GroupCallbacks)


def register() -> None:
    """Register the checks with Django."""
    checks.register(check_broker)


def check_broker(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check the broker, its middleware and its actors."""
    broker = dramatiq.get_broker()
    if not isinstance(broker, OutboxMixin):
        return [no_outbox_broker(broker)]
    import_actors()
    return [*longest_stay(broker), *missing_middleware(broker), *time_limit_last(broker), *stock_middleware(broker)]


def longest_stay(broker: Broker) -> list[checks.CheckMessage]:
    """Refuse limits with which RabbitMQ would redeliver messages that a worker has yet to run."""
    stay, timeout = max_unacked_seconds(broker), conf.consumer_timeout_seconds()
    if stay < timeout:
        return []
    return [
        checks.Error(
            f"A message may sit in a worker for {stay:g} s, and RabbitMQ takes it back after {timeout:g} s.",
            hint="Lower time limits (TIME_LIMIT_MS, an actor's time_limit) or prefetch (dramatiq_queue_prefetch), have "
            "fewer queues, or raise RabbitMQ's consumer_timeout and say so in CONSUMER_TIMEOUT_SECONDS.",
            id="outbox.E001",
        )
    ]


def missing_middleware(broker: Broker) -> list[checks.CheckMessage]:
    """Require the middleware that settles messages and the one that decides on retries."""
    return [
        checks.Error(
            f"{wanted.__name__} is missing from DRAMATIQ_MIDDLEWARE.",
            hint=f"Add {wanted.__module__}.{wanted.__name__}: without it no message of the outbox ends as promised.",
            id="outbox.E002",
        )
        for wanted in REQUIRED
        if not any(isinstance(one, wanted) for one in broker.middleware)
    ]


def time_limit_last(broker: Broker) -> list[checks.CheckMessage]:
    """Require TimeLimit last, so that no other middleware handles an outcome while the time limit still runs."""
    places = [place for place, one in enumerate(broker.middleware, start=1) if isinstance(one, TimeLimit)]
    if not places or places[-1] == len(broker.middleware):
        return []
    return [
        checks.Error(
            f"{type(broker.middleware[-1]).__name__} comes after TimeLimit in DRAMATIQ_MIDDLEWARE.",
            hint="List TimeLimit last: what comes after it works under the actor's deadline, and is interrupted by it.",
            id="outbox.E003",
        )
    ]


def stock_middleware(broker: Broker) -> list[checks.CheckMessage]:
    """Refuse Dramatiq's middleware that would repeat, or do after the commit, what an execution does within it."""
    return [
        checks.Error(
            f"{type(one).__name__} in DRAMATIQ_MIDDLEWARE would act beside the outbox: {why}.",
            hint=f"Remove {type(one).__module__}.{type(one).__qualname__}.",
            id="outbox.E004",
        )
        for one in broker.middleware
        if (why := _why_not_beside_the_outbox(one))
    ]


def no_outbox_broker(broker: Broker) -> checks.CheckMessage:
    """Refuse a broker that sends without the outbox."""
    return checks.Error(
        f"{type(broker).__name__} is no broker of the outbox: it sends whether or not the transaction commits.",
        hint='Set DRAMATIQ_BROKER["BROKER"] to "actors.outbox.broker.OutboxRabbitmqBroker".',
        id="outbox.E005",
    )


def _why_not_beside_the_outbox(one: Middleware) -> str:
    if isinstance(one, Retries) and not isinstance(one, OutboxRetries):
        return "OutboxRetries already tries again, and both would"
    if isinstance(one, FOLLOW_UPS):
        return "the outbox already sends follow-ups, in the transaction of the effect"
    if isinstance(one, AdminMiddleware):
        return "the outbox's own rows say what became of a message"
    return ""
