"""System checks: refuse a configuration under which the outbox cannot keep its guarantees.

Django runs them before `rundramatiq`, `check`, `migrate` and most other commands. `apps` registers them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dramatiq
from django.core import checks
from django.db import DEFAULT_DB_ALIAS
from django_dramatiq.middleware import AdminMiddleware, DbConnectionsMiddleware
from dramatiq import Broker, Middleware
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)

from actors.outbox.broker import CALLBACKS, OutboxMixin
from actors.outbox.conf import conf
from actors.outbox.db import session
from actors.outbox.discovery import import_actors
from actors.outbox.middleware import OutboxMiddleware
from actors.outbox.worker.interrupts import LiftableShutdown, LiftableTimeLimit
from actors.outbox.worker.limits import max_unacked_seconds
from actors.outbox.worker.retries import OutboxRetries

MIDDLEWARE = 'DRAMATIQ_BROKER["MIDDLEWARE"]'
# What has to be there, once, and what would happen without it.
WANTED: dict[type[Middleware], str] = {
    OutboxMiddleware: "no message would be settled",
    OutboxRetries: "no failure would be written",
    LiftableTimeLimit: "an actor might run without end",
    LiftableShutdown: "the option notify_shutdown would have no effect",
    CurrentMessage: "no actor would know its message",
    AgeLimit: "the option max_age would have no effect",
    DbConnectionsMiddleware: "broken connections to the database would be used again",
}
# Dramatiq's middleware that would repeat the work of an execution, do it after the commit instead of within, or
# interrupt it.
STOCK = {
    Retries: "OutboxRetries already retries, and both would",
    Pipelines: "the outbox already sends follow-ups, in the transaction of the effect",
    Callbacks: "the outbox already sends follow-ups, in the transaction of the effect",
    GroupCallbacks: "the outbox already sends follow-ups, in the transaction of the effect",
    AdminMiddleware: "the outbox's own rows record the state of each message",
    TimeLimit: "it may interrupt the writing of an outcome, which LiftableTimeLimit does not",
    ShutdownNotifications: "it may interrupt the writing of an outcome, which LiftableShutdown does not",
}

Problem = tuple[str, str, str]
"""The check's id, what is wrong, and a hint."""


def register() -> None:
    """Register the checks with Django."""
    checks.register(check_broker)
    checks.register(check_session, checks.Tags.database)


def check_broker(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check the broker, its middleware and its actors."""
    return [checks.Error(text, hint=hint, id=check_id) for check_id, text, hint in _problems(dramatiq.get_broker())]


def check_session(*, databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check what is in force in the default database's sessions; only if it is among `databases`."""
    return list(session.problems()) if DEFAULT_DB_ALIAS in (databases or ()) else []


def _problems(broker: Broker) -> Iterator[Problem]:
    if not isinstance(broker, OutboxMixin):
        text = f"{type(broker).__name__} is not a broker of the outbox: it sends even if the transaction rolls back."
        yield "outbox.E005", text, 'Set DRAMATIQ_BROKER["BROKER"] to "actors.outbox.broker.OutboxRabbitmqBroker".'
        return
    import_actors()
    unacked, timeout = max_unacked_seconds(broker), conf.OUTBOX_CONSUMER_TIMEOUT_SECONDS
    if unacked >= timeout:
        text = f"A message may sit in a worker for {unacked:g} s, but RabbitMQ takes it back after {timeout:g} s."
        hint = (
            "Lower time limits (OUTBOX_TIME_LIMIT_MS, an actor's time_limit) or prefetch (dramatiq_queue_prefetch), "
            "have fewer queues, or raise RabbitMQ's consumer_timeout and OUTBOX_CONSUMER_TIMEOUT_SECONDS with it."
        )
        yield "outbox.E001", text, hint
    yield from _problems_of_middleware(broker)
    yield from _problems_of_callbacks(broker)


def _problems_of_middleware(broker: Broker) -> Iterator[Problem]:
    for wanted, otherwise in WANTED.items():
        count = sum(isinstance(one, wanted) for one in broker.middleware)
        name = f"{wanted.__module__}.{wanted.__name__}"
        if count == 0:
            yield "outbox.E002", f"{wanted.__name__} is missing from {MIDDLEWARE}.", f"Add {name}: else {otherwise}."
        elif count > 1:
            hint = "List it once: each would handle every message."
            yield "outbox.E002", f"{wanted.__name__} is {count} times in {MIDDLEWARE}.", hint
    last = broker.middleware[-1:]
    if any(isinstance(one, TimeLimit) for one in broker.middleware) and not isinstance(last[0], TimeLimit):
        hint = (
            "List TimeLimit last: middleware after it runs within the actor's time limit, which may interrupt it. For "
            "Results, list an instance: DRAMATIQ_RESULT_BACKEND puts it last."
        )
        yield "outbox.E003", f"{type(last[0]).__name__} comes after TimeLimit in {MIDDLEWARE}.", hint
    for one in broker.middleware:
        why = next((why for stock, why in STOCK.items() if isinstance(one, stock)), "")
        if why and not isinstance(one, tuple(WANTED)):
            text = f"{type(one).__name__} in {MIDDLEWARE} would act beside the outbox: {why}."
            yield "outbox.E004", text, f"Remove {type(one).__module__}.{type(one).__qualname__}."


def _problems_of_callbacks(broker: Broker) -> Iterator[Problem]:
    for actor in broker.actors.values():
        for option in CALLBACKS:
            name = actor.options.get(option)
            if name and name not in broker.actors:
                text = f"The actor {actor.actor_name} has {option}={name!r}, which names no actor."
                yield "outbox.E008", text, "Name an actor of a module that workers import, by its actor_name."
