"""Decides whether a failed attempt is retried, and when; `failures` writes the verdict.

Imports no models, because Dramatiq creates its middleware before Django has loaded them.
"""

from dataclasses import dataclass
from typing import Any

import dramatiq
from dramatiq import Broker, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Retries

from actors.outbox.backoff import jittered_backoff
from actors.outbox.conf import conf

THROWS = "throws"
RETRIES_EXHAUSTED = "retries exhausted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The outcome of a failed attempt: a retry, or a dead letter."""

    delay_ms: int | None
    """Milliseconds until the next attempt; None if there is none."""

    reason: str = ""
    """Why there is no next attempt."""

    max_retries: int | None = None
    """The limit that was reached, if the retries are exhausted and have one."""


class OutboxRetries(Retries):
    """Dramatiq's Retries for messages of the outbox: the options mean the same; a delay becomes the due time of a row.

    Defaults come from Django's settings: `OUTBOX_MAX_RETRIES`, `OUTBOX_MIN_BACKOFF_MS`, `OUTBOX_MAX_BACKOFF_MS`.
    """

    def __init__(self, **options: Any) -> None:
        defaults = {
            "max_retries": conf.OUTBOX_MAX_RETRIES,
            "min_backoff": conf.OUTBOX_MIN_BACKOFF_MS,
            "max_backoff": conf.OUTBOX_MAX_BACKOFF_MS,
        }
        chosen = {**defaults, **options}
        super().__init__(**chosen)
        # Dramatiq takes a pause of 0 for none, and its own default in its place.
        self.min_backoff, self.max_backoff = chosen["min_backoff"], chosen["max_backoff"]

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Do nothing: `OutboxMiddleware` has written the outcome."""

    def retry_as_dramatiq(self, broker: Broker, message: MessageProxy, error: BaseException) -> None:
        """Decide as Dramatiq's own Retries does, and send the message again or mark it as failed."""
        super().after_process_message(broker, message, exception=error)  # type: ignore[no-untyped-call]

    def judge(
        self, actor: dramatiq.Actor[Any, Any], *, options: dict[str, Any], attempt: int, error: BaseException
    ) -> Verdict:
        """Return the outcome of a failed attempt.

        Args:
            actor: its actor.
            options: the message's own options, which override the actor's.
            attempt: the number of the attempt since the message was sent or replayed, the first being 0.
            error: the attempt's error.

        Raises:
            Exception: the actor's `retry_when` failed.
        """

        def option(name: str, default: Any) -> Any:
            return options.get(name, actor.options.get(name, default))

        throws = option("throws", None)
        if throws and isinstance(error, throws):
            return Verdict(delay_ms=None, reason=THROWS)
        retry_when = actor.options.get("retry_when", self.retry_when)
        limit = option("max_retries", self.max_retries)
        if not (retry_when(attempt, error) if retry_when is not None else limit is None or attempt < limit):
            return Verdict(delay_ms=None, reason=RETRIES_EXHAUSTED, max_retries=limit)
        if isinstance(error, Retry) and error.delay is not None:
            return Verdict(delay_ms=error.delay)
        minimum, maximum = option("min_backoff", self.min_backoff), option("max_backoff", self.max_backoff)
        return Verdict(delay_ms=int(jittered_backoff(attempt, minimum=minimum, maximum=maximum)))


def retries_of(broker: Broker) -> OutboxRetries:
    """Return the `OutboxRetries` of a broker; `checks` require one."""
    [retries] = [one for one in broker.middleware if isinstance(one, OutboxRetries)]
    return retries
