"""Hands every message that a worker begins to `settlement`, and runs the relay for as long as the worker lives.

Models are imported late throughout: Dramatiq's middleware is made before Django has loaded them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import Broker, MessageProxy, Middleware

if TYPE_CHECKING:
    from actors.outbox.worker.batch import Share
    from actors.outbox.worker.execution import Settling, Worker


class Settlement(Middleware):
    """Middleware that makes every actor settle what it runs. Its place in the list does not matter.

    An actor that touches only the database needs no option: it runs in the transaction that settles its message. Others
    say so, and run outside any transaction:

    - `outside_effects=True`: it sends a mail, calls a service, or takes so long that no transaction should last. It is
      held while it runs, so that no two copies run at once, and settled after it has succeeded: at least once.
    - `returns_rows=True`: its effect is rows, unsaved, which it returns. They are written for it, exactly once, in one
      transaction with those of other messages; as by `bulk_create`, so without signals of `save()`. A thread runs
      several of them after one another, as long as they are quick (`sharing`).
    """

    def __init__(self) -> None:
        self._thread = threading.local()

    @property
    def actor_options(self) -> set[str]:
        return {"outside_effects", "returns_rows", "on_success", "on_failure", "pipe_ignore", "pipe_target"}

    @cached_property
    def worker(self) -> "Worker":
        """What this process's runs share."""
        from actors.outbox.worker.execution import Worker

        return Worker()

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        actor.fn = self._settling(actor, actor.fn)

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.worker.batch import share_in

        share_in(worker, self)

    def after_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.relay.thread import process_relay

        process_relay.start()

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        from actors.outbox.relay.thread import process_relay

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

    def may_share(self, broker: Broker, message: MessageProxy) -> bool:
        """Say whether a message may be settled with others: not if its start may have to be written down before."""
        actor = broker.actors.get(message.actor_name)
        return (
            actor is not None
            and self.worker.pace.is_quick(actor.actor_name)
            and bool(actor.options.get("returns_rows"))
            and not (message.failed or getattr(message, "redelivered", False) or actor.options.get("outside_effects"))
            and "outbox" in message.options
            and not message.options.get("dedupe_key")
        )

    @contextmanager
    def sharing(self, share: "Share") -> Iterator[None]:
        """Have the messages that this thread begins inside settled together."""
        self._thread.share = share
        try:
            yield
        finally:
            self._thread.share = None

    def _settling(self, actor: dramatiq.Actor[Any, Any], work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def run(*args: Any, **kwargs: Any) -> Any:
            # Taken away at once: an actor called by another one, as a function, settles nothing.
            message, self._thread.message = getattr(self._thread, "message", None), None
            settling = message and self._settling_of(actor.broker, message)
            if not settling:
                return _run_unsettled(actor, partial(work, *args, **kwargs))
            assert message is not None
            message.begun_by_outbox = True
            if share := getattr(self._thread, "share", None):
                share.enter(settling)
            return settling.run(partial(work, *args, **kwargs))

        return run

    def _settling_of(self, broker: Broker, message: MessageProxy) -> "Settling | None":
        """Return what settles a message; None for one that came from elsewhere."""
        from actors.outbox.envelope import Ticket
        from actors.outbox.worker.delivery import Delivery
        from actors.outbox.worker.execution import Settling

        ticket = Ticket.of(message.options)
        if ticket is None:
            return None
        actor = broker.get_actor(message.actor_name)
        delivery = Delivery(ticket=ticket, message=message, actor=actor, broker=broker)
        return Settling(delivery=delivery, worker=self.worker)

    def _end_unbegun(self, broker: Broker, message: MessageProxy, end: Callable[["Settling"], None]) -> None:
        """Write down the end of a message whose actor was never begun: nobody else would."""
        from actors.outbox.exceptions import Unsettled

        self._thread.message = None
        if getattr(message, "begun_by_outbox", False) or message.failed:
            return
        settling = self._settling_of(broker, message)
        if settling is None:
            return
        if share := getattr(self._thread, "share", None):
            share.close()
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
    from actors.outbox.worker.group_commit import rows_of, write

    write(rows_of(result, actor_name=actor.actor_name))
    return None
