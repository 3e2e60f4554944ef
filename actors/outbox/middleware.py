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
    from actors.outbox.settlement import Settling, Worker


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
        self._thread.message = message

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is not None:
            self._end_unbegun(broker, message, lambda settling: settling.fail(exception))

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._end_unbegun(broker, message, lambda settling: settling.skip())

    def _settling(self, actor: dramatiq.Actor[Any, Any], work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def run(*args: Any, **kwargs: Any) -> Any:
            # Taken away at once: an actor called by another one, as a function, settles nothing.
            message, self._thread.message = getattr(self._thread, "message", None), None
            settling = message and self._settling_of(actor.broker, message)
            if not settling:
                return _run_unsettled(actor, partial(work, *args, **kwargs))
            self._thread.begun = message
            return settling.run(partial(work, *args, **kwargs))

        return run

    def _settling_of(self, broker: Broker, message: MessageProxy) -> "Settling | None":
        """Return what settles a message; None for one that came from elsewhere."""
        from actors.outbox.delivery import Delivery
        from actors.outbox.envelope import Ticket
        from actors.outbox.settlement import Settling

        ticket = Ticket.of(message.options)
        if ticket is None:
            return None
        actor = broker.get_actor(message.actor_name)
        delivery = Delivery(ticket=ticket, message=message, actor=actor, broker=broker)
        return Settling(delivery=delivery, worker=self.worker)

    def _end_unbegun(self, broker: Broker, message: MessageProxy, end: Callable[["Settling"], None]) -> None:
        """Write down the end of a message whose actor was never begun: nobody else would."""
        from actors.outbox.errors import Unsettled

        begun = getattr(self._thread, "begun", None)
        self._thread.begun = self._thread.message = None
        if begun is message or message.failed:
            return
        settling = self._settling_of(broker, message)
        if settling is None:
            return
        try:
            end(settling)
        except Unsettled as error:
            message.stuff_exception(error)


def settlement_of(broker: Broker) -> Settlement:
    """Return a broker's settlement; `checks` demand that there is one."""
    [settlement] = [one for one in broker.middleware if isinstance(one, Settlement)]
    return settlement


def _run_unsettled(actor: dramatiq.Actor[Any, Any], work: Callable[[], Any]) -> Any:
    """Run an actor that is called as a function, or whose message came from elsewhere: there is nothing to settle."""
    result = work()
    if not actor.options.get("returns_rows"):
        return result
    from actors.outbox.group_commit import rows_of, write

    write(rows_of(result, actor_name=actor.actor_name))
    return None
