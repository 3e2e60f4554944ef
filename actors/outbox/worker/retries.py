"""Whether a failed attempt is tried again, and when. Decides only; `settlement` writes it down."""

import logging
import random
from dataclasses import dataclass
from typing import Any

import dramatiq
from dramatiq import Broker, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Retries

logger = logging.getLogger(__name__)

# Doubling beyond this makes numbers of no use to anybody.
MOST_DOUBLINGS = 32
THROWS = "throws"
RETRIES_EXHAUSTED = "retries exhausted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What becomes of a message whose attempt failed."""

    delay_ms: int | None
    """Until the next attempt; None if there is none."""

    reason: str = ""
    """Why there is none."""

    max_retries: int | None = None
    """How many there were to be."""


class OutboxRetries(Retries):
    """The Retries middleware, for messages of the outbox: its options mean the same, its delays are due times of rows.

    Messages that did not come from the outbox are retried as Dramatiq does.
    """

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        from actors.outbox.envelope import Ticket

        if exception is not None and Ticket.of(message.options) is None:
            self._end_foreign(broker, message, exception)

    def _end_foreign(self, broker: Broker, message: MessageProxy, exception: BaseException) -> None:
        """Have a message that came from elsewhere tried again, as a row of the outbox from then on."""
        from actors.outbox.db.retrying import patiently
        from actors.outbox.exceptions import Unsettled
        from actors.outbox.middleware import settlement_of

        options = dict(message.options)

        def end() -> None:
            # Each try counts its retry anew.
            message.options.clear()
            message.options.update(options)
            super(OutboxRetries, self).after_process_message(broker, message, exception=exception)  # type: ignore[no-untyped-call]

        try:
            patiently(end, stopping=settlement_of(broker).worker.stopping, what=message.message_id)
        except Unsettled as error:
            message.stuff_exception(error)
        except Exception:  # whatever it is: what cannot be written down may not be acknowledged
            logger.exception("message=%s cannot be tried again", message.message_id)
            message.fail()

    def judge(
        self, actor: dramatiq.Actor[Any, Any], *, options: dict[str, Any], attempt: int, error: BaseException
    ) -> Verdict:
        """Decide on a message whose attempt number `attempt`, the first being 0, ended with `error`."""

        def option(name: str, default: Any) -> Any:
            return options.get(name, actor.options.get(name, default))

        throws = option("throws", None)
        if throws and isinstance(error, throws):
            return Verdict(delay_ms=None, reason=THROWS)
        retry_when = actor.options.get("retry_when", self.retry_when)
        most = option("max_retries", self.max_retries)
        if not (retry_when(attempt, error) if retry_when is not None else most is None or attempt < most):
            return Verdict(delay_ms=None, reason=RETRIES_EXHAUSTED, max_retries=most)
        if isinstance(error, Retry) and error.delay is not None:
            return Verdict(delay_ms=error.delay)
        least, longest = option("min_backoff", self.min_backoff), option("max_backoff", self.max_backoff)
        return Verdict(delay_ms=jittered_backoff(attempt, least_ms=least, longest_ms=longest))


def jittered_backoff(attempt: int, *, least_ms: int, longest_ms: int) -> int:
    """Return milliseconds: doubling from `least_ms` to `longest_ms`, of which the upper half is chance.

    Chance keeps messages that failed together from coming back together.
    """
    full = min(longest_ms, least_ms << min(attempt, MOST_DOUBLINGS))
    return full // 2 + random.randint(0, full - full // 2)  # noqa: S311 – spreads load, guards nothing
