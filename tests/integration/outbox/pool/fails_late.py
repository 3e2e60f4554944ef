"""A middleware of a pool: Dramatiq makes it before its broker, and so before any actor."""

from typing import Any

from dramatiq import Broker, MessageProxy, Middleware


class FailsLate(Middleware):
    """Fails the messages of one actor after their run."""

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if message.actor_name == "succeed_in_vain":
            message.fail()
