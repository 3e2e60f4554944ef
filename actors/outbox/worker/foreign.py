"""Handles failures of foreign messages: those that another program published, and that have no row to settle.

Guarantee: a foreign message that fails is not acknowledged before its retry is written; the retry is a row like any
other.
"""

import logging
import threading
from typing import Any

from dramatiq import Broker, MessageProxy

from actors.outbox.context import log_word
from actors.outbox.db.retrying import retry_until_available
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.worker.retries import retries_of

logger = logging.getLogger(__name__)


def retry_foreign(broker: Broker, message: MessageProxy, error: BaseException, *, stopping: threading.Event) -> None:
    """Let Dramatiq's own Retries decide on a foreign message that failed: its retry is a send, and so becomes a row."""
    options: dict[str, Any] = dict(message.options)

    def retry() -> None:
        # Dramatiq counts the retry in the options; a try that failed for lack of the database must not count.
        message.options.clear()
        message.options.update(options)
        retries_of(broker).retry_as_dramatiq(broker, message, error)

    try:
        retry_until_available(
            retry,
            stopping=stopping,
            what=f"actor={log_word(message.actor_name)} message={log_word(message.message_id)}",
        )
    except LeaveForRedelivery as unsettled:
        message.stuff_exception(unsettled)
    except Exception:  # whatever it is: a message whose outcome cannot be written must not be acknowledged
        logger.exception(
            "retry not written actor=%s message=%s", log_word(message.actor_name), log_word(message.message_id)
        )
        message.fail()
