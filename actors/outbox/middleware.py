"""Dramatiq's hooks, without logic: each call goes to the engine in `worker`, or to this process's `background` threads.

Dramatiq creates its middleware before Django has loaded the models, so both are imported on first use.
"""

from collections.abc import Callable
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import Broker, ConsumerThread, MessageProxy, Middleware

from actors.outbox.worker.dramatiq_internals import silence_repetition
from actors.outbox.worker.interrupts import refuse_gevent

if TYPE_CHECKING:
    from actors.outbox.background import BackgroundThreads
    from actors.outbox.worker.engine import Engine


class OutboxMiddleware(Middleware):
    """Middleware that makes every actor settle the messages that it runs. Its position in the list does not matter.

    An actor whose effects are in the database needs no option: it runs in the transaction that settles its message.
    Two options make an actor run outside any transaction:

    - `outside_effects=True`: it sends mail, calls a service, or runs too long for a transaction. Its row is under an
      execution lease while it runs, so no two copies run at once, and is settled after its success: at-least-once.
    - `returns_rows=True`: its effect is the unsaved rows that it returns. The worker inserts them, exactly once, in
      one transaction with those of other messages; as by `bulk_create`, so without the signals of `save()`. A worker
      thread runs several of its messages in a batch, as long as they are quick (`worker.batch`).
    """

    @property
    def actor_options(self) -> set[str]:
        return {"outside_effects", "returns_rows", "on_success", "on_failure", "pipe_ignore", "pipe_target"}

    @cached_property
    def engine(self) -> "Engine":
        from actors.outbox.worker.engine import Engine  # noqa: PLC0415 – it imports the models

        return Engine()

    @cached_property
    def background(self) -> "BackgroundThreads":
        from actors.outbox.background import background_threads  # noqa: PLC0415 – it imports the models

        return background_threads

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        actor.fn = self._executing(actor, actor.fn)

    def after_process_boot(self, broker: Broker) -> None:
        refuse_gevent()  # before other middleware starts threads, which an exit would wait for

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        refuse_gevent()  # of a worker that is started without Dramatiq's command
        self.engine.install(worker)

    def after_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self.background.boot()

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self.engine.stop()

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self.background.stop()
        self.engine.renew()

    def after_consumer_thread_boot(self, broker: Broker, thread: ConsumerThread) -> None:
        silence_repetition(thread)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self.engine.receive(message)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is not None:
            self.engine.end_failed(broker, message, exception)

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        self.engine.fail_afterwards(broker, message)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self.engine.end_skipped(broker, message)

    def _executing(self, actor: dramatiq.Actor[Any, Any], function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.engine.call(actor, partial(function, *args, **kwargs))

        return call
