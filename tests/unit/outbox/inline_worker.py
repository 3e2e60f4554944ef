"""The outbox's `InlineWorker`, with a handle on the state that its executions share."""

from dramatiq import Broker

from actors.outbox import testing
from actors.outbox.middleware import OutboxMiddleware
from actors.outbox.worker.state import WorkerState

QUEUE = "tests"


class InlineWorker(testing.InlineWorker):
    """A worker of all queues that can be asked to stop."""

    def stop(self) -> None:
        """Have the worker's executions end their waits for the database, as when a worker stops."""
        self.state.stopping.set()

    def start(self) -> None:
        self.state.stopping.clear()

    @property
    def state(self) -> WorkerState:
        return outbox_middleware_of(self.broker).engine.state


def outbox_middleware_of(broker: Broker) -> OutboxMiddleware:
    """Return a broker's outbox middleware."""
    [middleware] = [one for one in broker.middleware if isinstance(one, OutboxMiddleware)]
    return middleware
