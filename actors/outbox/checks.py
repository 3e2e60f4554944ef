"""System checks: a configuration with which the outbox could not keep its promises does not start.

Django runs them before `rundramatiq`, `check`, `migrate` and most other commands. Registered by `apps`.
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
    """Have the checks run wherever Django runs its own."""
    checks.register(check_broker)


def check_broker(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check the broker, its middleware and its actors."""
    broker = dramatiq.get_broker()
    if not isinstance(broker, OutboxMixin):
        return [no_outbox_broker(broker)]
    import_actors()
    return [*longest_stay(broker), *missing_middleware(broker), *time_limit_last(broker), *stock_middleware(broker)]


def longest_stay(broker: Broker) -> list[checks.CheckMessage]:
    """Refuse limits with which RabbitMQ would take back, and hand out again, what a worker is still to run."""
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
    """Demand what settles messages and what tries them again."""
    return [
        checks.Error(
            f"{wanted.__name__} is missing from DRAMATIQ_MIDDLEWARE.",
            hint=f"Add {wanted.__module__}.{wanted.__name__}(): without it no message of the outbox ends as promised.",
            id="outbox.E002",
        )
        for wanted in REQUIRED
        if not any(isinstance(one, wanted) for one in broker.middleware)
    ]


def time_limit_last(broker: Broker) -> list[checks.CheckMessage]:
    """Demand that the time limit ends before anything else is done with a message's outcome."""
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
    """Refuse what would do again, or after the commit, what settlement does within it."""
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
        return "settlement already sends what follows, in the transaction of the effect"
    if isinstance(one, AdminMiddleware):
        return "the outbox's own rows say what became of a message"
    return ""
