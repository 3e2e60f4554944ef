"""Coroutine actors: which of them are supported, and how one runs on the event loop of Dramatiq's AsyncIO middleware.

A coroutine's statements run in other threads than the worker's, over connections of their own, and so never in the
transaction that settles its message. So only an actor with outside effects may be one.

Guarantee: a coroutine ends before its message does, even if a time limit or a shutdown interrupts it: until then its
worker thread waits and its execution lease is renewed, so no other copy begins. The database connections that it opened
in threads of Django's async ORM and of `asyncio.to_thread` are closed by then.
"""

import asyncio
import inspect
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dramatiq
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import connections
from dramatiq import GenericActor, Middleware
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import AsyncIO
from dramatiq.threading import Interrupt

from actors.outbox.exceptions import NotSupported
from actors.outbox.worker.dramatiq_internals import without_event_loop

# How often the waiting worker thread runs bytecode: only then can an interruption reach it.
POLL_SECONDS = 0.1
OUTSIDE_THE_TRANSACTION = (
    "The actor {} is a coroutine, which runs outside the transaction that settles its message. Declare it with "
    "outside_effects=True (at-least-once), or make it a function that calls the coroutine by "
    "asgiref.sync.async_to_sync: then the async ORM works within that transaction."
)
NO_EVENT_LOOP = (
    'The actor {} is a coroutine: add "dramatiq.middleware.AsyncIO" to DRAMATIQ_BROKER["MIDDLEWARE"], whose event loop '
    "runs it."
)
GENERATOR = "The actor {} is a generator, over which nothing iterates: it would do nothing. Use a function."


def supported_function(actor: dramatiq.Actor[Any, Any], middleware: Iterable[Middleware]) -> Callable[..., Any]:
    """Return the function of an actor that is being declared: of a coroutine actor the coroutine function itself.

    Raises:
        NotSupported: the actor could not run as its options promise; the error says what to do.
    """
    function = without_event_loop(actor.fn)
    # What an instance of a class runs when it is called.
    called = function.perform if isinstance(function, GenericActor) else type(function).__call__
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in (function, called)):
        raise NotSupported(GENERATOR.format(actor.actor_name))
    if any(inspect.iscoroutinefunction(each) for each in (function, called)):
        _require_outside_effects(actor)
        if not any(isinstance(one, AsyncIO) for one in middleware):
            raise NotSupported(NO_EVENT_LOOP.format(actor.actor_name))
    return function


def call_to_end(actor: dramatiq.Actor[Any, Any], function: Callable[[], Any], *, in_worker: bool) -> Any:
    """Call an actor's function; run the coroutine that it may return, and return that one's result.

    Args:
        actor: the actor.
        function: its function, with its arguments.
        in_worker: whether the actor runs for a message; otherwise it is called as a function.

    Raises:
        NotSupported: it returned a coroutine without having outside effects, or a generator: nothing of it has run.
        BaseException: what the function or the coroutine raised.
    """
    result = function()
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise NotSupported(GENERATOR.format(actor.actor_name))
    if not inspect.isawaitable(result):
        return result
    try:
        _require_outside_effects(actor)
    except NotSupported:
        if inspect.iscoroutine(result):
            result.close()
        raise
    thread = get_event_loop_thread() if in_worker else None
    return _Run(result, thread.loop).to_end() if thread else async_to_sync(_wait_for)(result)


def _require_outside_effects(actor: dramatiq.Actor[Any, Any]) -> None:
    # Also with `returns_rows`, whose runs need no lease because their only effect is what they return.
    if not actor.options.get("outside_effects"):
        raise NotSupported(OUTSIDE_THE_TRANSACTION.format(actor.actor_name))


class _Run:
    """One run of a coroutine on the event loop, for which a worker thread waits."""

    def __init__(self, awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._awaitable = awaitable
        self._loop = loop
        self._is_over = threading.Event()
        # Of these, the loop's thread alone takes care while the run lasts.
        self._task: asyncio.Task[Any] | None = None
        self._work: asyncio.Future[Any] | None = None
        self._is_cancelled = False

    def to_end(self) -> Any:
        """Run the coroutine; an interruption of this thread cancels it, and is raised if it ends by that.

        Dramatiq's own `run_coroutine` waits for a cancelled coroutine for a second, and then leaves it running.
        """
        interruption = None
        try:
            try:
                self._loop.call_soon_threadsafe(self._begin)
                self._wait()
            except Interrupt as error:
                interruption = error
                self._cancel_and_wait()
        except Interrupt as error:  # a time limit and a shutdown: there is no third
            interruption = error
            self._cancel_and_wait()
        assert self._task
        try:
            return self._task.result()
        except asyncio.CancelledError as error:
            if interruption is None:
                raise
            raise interruption from error

    def _wait(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            pass

    def _cancel_and_wait(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel)
        self._wait()

    def _begin(self) -> None:
        if self._task is None:
            # In a copy of the worker thread's context: with the origin and the trail of the message.
            self._task = self._loop.create_task(self._run())
            self._task.add_done_callback(lambda _task: self._is_over.set())

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._work:
            self._work.cancel()
        self._begin()  # unless it has: an interruption may come before

    async def _run(self) -> Any:
        """Run the coroutine with a thread of its own for Django's async ORM, and close that one's connections."""
        _close_connections_of_other_threads(self._loop)
        async with ThreadSensitiveContext():
            self._work = asyncio.ensure_future(_contain(self._awaitable))
            if self._is_cancelled:
                self._work.cancel()
            try:
                return await self._work
            finally:
                # After all that the coroutine has begun in that thread, even if it was cancelled: that does not end it.
                await sync_to_async(connections.close_all)()


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _contain(awaitable: Awaitable[Any]) -> Any:
    """Wait for a coroutine; fail it alone by what, raised in a task, ends the event loop and all that it runs."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__} was raised in a coroutine") from error


_prepared: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def _close_connections_of_other_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Have each call by `asyncio.to_thread` and the like close the connections that it opens."""
    if loop not in _prepared:
        _prepared.add(loop)
        loop.set_default_executor(_ClosingExecutor(thread_name_prefix="outbox-coroutines"))


class _ClosingExecutor(ThreadPoolExecutor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def call() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                connections.close_all()

        return super().submit(call)
