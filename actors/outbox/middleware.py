"""Hands every message that a worker begins to `settlement`, and runs the relay for as long as the worker lives.

Models are imported late throughout: Dramatiq's middleware is made before Django has loaded them.
"""

import threading
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import dramatiq
from dramatiq import Broker, MessageProxy, Middleware


class Settlement(Middleware):
    """Middleware that makes every actor settle what it runs. Its place in the list does not matter."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._thread = threading.local()

    @property
    def actor_options(self) -> set[str]:
        return {"on_success", "on_failure", "pipe_ignore", "pipe_target", "subject", "dedupe_key"}

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        actor.fn = self._settling(actor, actor.fn)

    def after_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.thread import process_relay

        process_relay.start()

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.thread import process_relay

        process_relay.stop()

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self.stopping.set()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        from actors.outbox.envelope import Ticket
        from actors.outbox.settlement import Delivery

        ticket = Ticket.of(message.options)
        self._thread.delivery = ticket and Delivery(ticket=ticket, message=message, broker=broker)

    def _settling(self, actor: dramatiq.Actor[Any, Any], work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def run(*args: Any, **kwargs: Any) -> Any:
            # Taken away at once: an actor called by another one, as a function, settles nothing.
            delivery, self._thread.delivery = getattr(self._thread, "delivery", None), None
            if delivery is None:
                return work(*args, **kwargs)
            from actors.outbox.settlement import Settling

            return Settling(delivery=delivery, actor=actor, stopping=self.stopping).run(partial(work, *args, **kwargs))

        return run
