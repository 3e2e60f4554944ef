"""Whether the database, RabbitMQ and the cache can be used; if not, what is refused and what to do, in one line.

`manage.py prepare` asks for `make run`, which starts nothing unless all three can be used. `rundramatiq` and gunicorn's
first worker ask once, log the answer and go on: the service waits for its servers at any time.
"""

import logging
import time
from collections.abc import Callable

import dramatiq
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, connection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.exceptions import AccessRefused

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
# In the words of PostgreSQL; in another language, `make run` waits before it says the same.
FINAL = ("authentication failed", "does not exist", "pg_hba.conf")


def log_in_to_database() -> None:
    """Connect to the database.

    Raises:
        AccessRefused: it cannot be used.
    """
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError) as error:
        # Further lines are about other attempts, without encryption or at other hosts.
        reason = " ".join(str(error).partition("\n")[0].removeprefix("connection failed: ").split()).rstrip(".")
        name = connection.settings_dict["NAME"]
        text = f"The database {name} cannot be used: {reason}. Start it, or correct DATABASE_URL."
        raise AccessRefused(text, is_final=any(word in reason for word in FINAL)) from error
    finally:
        connection.close()


def log_in_to_rabbitmq() -> None:
    """Log in to RabbitMQ, and try all that the service does there.

    Raises:
        AccessRefused: it cannot be used.
    """
    broker = dramatiq.get_broker()
    assert isinstance(broker, OutboxRabbitmqBroker)
    broker.log_in()


def log_in_to_cache() -> None:
    """Read from the cache.

    Raises:
        AccessRefused: it cannot be used.
    """
    try:
        cache.get("server_access")
    except RedisError as error:
        text = f"The cache cannot be used: {' '.join(str(error).split()).rstrip('.')}. Start it, or correct CACHE_URL."
        is_final = isinstance(error, AuthenticationError | ResponseError)
        raise AccessRefused(text, is_final=is_final) from error


LOGINS = {
    "DATABASE_URL": log_in_to_database,
    "RABBITMQ_URL": log_in_to_rabbitmq,
    "CACHE_URL": log_in_to_cache,
}
"""How to log in to each server, by the variable that names it."""


def wait_for(log_in: Callable[[], None], *, timeout_seconds: float) -> None:
    """Call `log_in` until it succeeds, RabbitMQ or the database refuses, or the time is over.

    Raises:
        AccessRefused: the server cannot be used.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return log_in()
        except AccessRefused as refusal:
            if refusal.is_final or time.monotonic() >= deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def log_refusals(*variables: str) -> None:
    """Log an error for each server, by the variable that names it, that cannot be used now.

    Not that RabbitMQ does not answer yet: the outbox tells its outages, each once.
    """
    for variable in variables:
        try:
            LOGINS[variable]()
        except AccessRefused as refusal:
            if variable == "RABBITMQ_URL" and not refusal.is_final:
                continue
            logger.error("%s Until then this process goes on and tries again.", refusal)  # noqa: TRY400 – one line
