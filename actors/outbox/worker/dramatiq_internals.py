"""All that the outbox uses of Dramatiq beyond its documented interface. Written against Dramatiq 2.2.1.

- A `Worker` makes each of its threads with `_add_worker`; its `work_queue` holds `_WorkQueueItem`s, ordered by the time
  at which they were made.
- A worker that starts adds a `_WorkerMiddleware` to its broker, and leaves it there when it stops.
- The managers of `TimeLimit` and `ShutdownNotifications` raise in other threads after they have released their lock, or
  without one. `TimeoutManager` and `ShutdownManager` raise under a lock that ending a limit or a notification takes
  too, and note in which threads.
- A worker thread stuffs the error of a message's run into its proxy.
- `group.run` sends one message after the other, without a hook.
- `WorkerThread.process_message` logs each message that is skipped or fails, by `SKIPPED` or one of `FAILED`, in the
  logger `THREADS_LOGGER`; the message is the line's first argument.
- An `Actor` wraps a coroutine function in `async_to_sync`, which waits for it on the event loop of `AsyncIO`,
  that of `get_event_loop_thread()`.
- `ConsumerThread.run` logs each lost connection, and each attempt to connect again, by `REPEATED`.
- Three modules repeat what Dramatiq does: `batch.MessageRun` its `WorkerThread.process_message`, `retries` its
  `Retries`, `follow_ups` its `Pipelines` and `Callbacks`. `testing` calls methods of threads that it does not
  start, and has the methods of its `StubBroker`.

`tests/unit/outbox/worker/test_dramatiq_internals.py` fails when one of these changes, and names the code to review.
"""

import threading
from collections.abc import Callable
from typing import Any

from dramatiq import ConsumerThread, MessageProxy, Middleware, Worker, WorkerThread, group
from dramatiq.asyncio import async_to_sync
from dramatiq.middleware.shutdown import _CtypesShutdownManager
from dramatiq.middleware.time_limit import _CtypesTimeoutManager
from dramatiq.worker import _WorkerMiddleware, _WorkQueueItem

WorkQueueItem = _WorkQueueItem
THREADS_LOGGER = "dramatiq.worker.WorkerThread"
SKIPPED = "Message %s was skipped."
FAILED = (
    "Failed to process message %s with unhandled exception.",
    "Failed to process message %s with expected exception %s.",
)
REPEATED = {"Consumer encountered a connection error: %s", "Restarting consumer in %0.2f seconds."}
run_group: Callable[..., group] = group.run
"""Dramatiq's own `group.run`."""


def error_of(message: MessageProxy) -> BaseException | None:
    """Return the error of a message's run, from the end of the run to that of its acknowledgement."""
    return message._exception


def silence_repetition(thread: ConsumerThread) -> None:
    """Drop a consumer thread's lines about outages, two for each attempt to connect: the outbox logs them once."""
    thread.logger.addFilter(lambda record: record.msg not in REPEATED)


def replace_group_run(run: Callable[..., group]) -> None:
    """Replace the method `run` of every group."""
    group.run = run  # type: ignore[method-assign]


def without_event_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the coroutine function that an `Actor` has wrapped; another function as it is."""
    is_wrapper = getattr(function, "__globals__", None) is async_to_sync.__globals__
    return function.__wrapped__ if is_wrapper else function  # type: ignore[attr-defined]


def make_threads_with(make: Callable[..., WorkerThread], worker: Worker) -> None:
    """Make a worker that has not started create its threads with `make`, which takes the arguments of their class."""

    def add_worker() -> None:
        thread = make(
            broker=worker.broker,
            consumers=worker.consumers,
            work_queue=worker.work_queue,
            worker_timeout=worker.worker_timeout,
        )
        thread.start()
        worker.workers.append(thread)

    worker._add_worker = add_worker  # type: ignore[method-assign]


def without_worker(middleware: list[Middleware], worker: Worker) -> list[Middleware]:
    """Return a broker's middleware without the hooks by which a worker follows the declaration of queues."""
    return [each for each in middleware if not (isinstance(each, _WorkerMiddleware) and each.worker is worker)]


class TimeoutManager(_CtypesTimeoutManager):
    """Raises in threads whose time limit is over."""

    def __init__(self, interval: float, logger: Any) -> None:
        super().__init__(interval, logger)  # type: ignore[no-untyped-call]
        self.interrupted: set[int] = set()
        """The threads in which it has raised."""

    def _handle_deadlines(self) -> None:
        with self.mu:  # reentrant: Dramatiq's own method takes it too
            running = {thread for thread, deadline in self.deadlines.items() if deadline}
            super()._handle_deadlines()  # type: ignore[no-untyped-call]
            self.interrupted.update(thread for thread in running if not self.deadlines[thread])


class ShutdownManager(_CtypesShutdownManager):
    """Raises in all threads that are registered, when the worker is to stop."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logger)  # type: ignore[no-untyped-call]
        self.interrupted: set[int] = set()
        """The threads in which it has raised."""
        self._mu = threading.Lock()

    def add_notification(self) -> None:
        with self._mu:
            super().add_notification()  # type: ignore[no-untyped-call]

    def remove_notification(self) -> None:
        with self._mu:
            super().remove_notification()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        with self._mu:
            self.interrupted.update(self.notifications)
            super().shutdown()  # type: ignore[no-untyped-call]
