"""Hands every message that a worker begins to `settlement`, and runs the relay for as long as the worker lives.

Models are imported late throughout: Dramatiq's middleware is made before Django has loaded them.
"""

import threading
from collections.abc import Callable
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import Broker, MessageProxy, Middleware

if TYPE_CHECKING:
    from actors.outbox.settlement import Worker


class Settlement(Middleware):
    """Middleware that makes every actor settle what it runs. Its place in the list does not matter.

    An actor that touches only the database needs no option: it runs in the transaction that settles its message. Others
    say so, and run outside any transaction:

    - `outside_effects=True`: it sends a mail, calls a service, or takes so long that no transaction should last. It is
      held while it runs, so that no two copies run at once, and settled after it has succeeded: at least once.
    - `returns_rows=True`: its effect is rows, unsaved, which it returns. They are written for it, exactly once, in one
      transaction with those of other messages; by `bulk_create`, so without signals of `save()`.
    """

    def __init__(self) -> None:
        self._thread = threading.local()

    @property
    def actor_options(self) -> set[str]:
        return {"outside_effects", "returns_rows", "on_success", "on_failure", "pipe_ignore", "pipe_target"}

    @cached_property
    def worker(self) -> "Worker":
        """What this process's runs share."""
        from actors.outbox.settlement import Worker

        return Worker()

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        actor.fn = self._settling(actor, actor.fn)

    def after_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.thread import process_relay

        process_relay.start()

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.thread import process_relay

        process_relay.stop()

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self.worker.stopping.set()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        from actors.outbox.delivery import Delivery
        from actors.outbox.envelope import Ticket

        ticket = Ticket.of(message.options)
        actor = broker.get_actor(message.actor_name)
        self._thread.delivery = ticket and Delivery(ticket=ticket, message=message, actor=actor, broker=broker)

    def _settling(self, actor: dramatiq.Actor[Any, Any], work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def run(*args: Any, **kwargs: Any) -> Any:
            # Taken away at once: an actor called by another one, as a function, settles nothing.
            delivery, self._thread.delivery = getattr(self._thread, "delivery", None), None
            if delivery is None:
                return _run_unsettled(actor, partial(work, *args, **kwargs))
            from actors.outbox.settlement import Settling

            return Settling(delivery=delivery, worker=self.worker).run(partial(work, *args, **kwargs))

        return run


def _run_unsettled(actor: dramatiq.Actor[Any, Any], work: Callable[[], Any]) -> Any:
    """Run an actor that is called as a function, or whose message came from elsewhere: there is nothing to settle."""
    result = work()
    if not actor.options.get("returns_rows"):
        return result
    from actors.outbox.group_commit import rows_of, write

    write(rows_of(result, actor_name=actor.actor_name))
    return None
