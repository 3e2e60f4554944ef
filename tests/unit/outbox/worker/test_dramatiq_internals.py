"""Dramatiq's private parts, on which `dramatiq_internals` relies, are unchanged."""

import pytest

from tests.internals import fail_if_changed

THREADS = "make_threads_with and batch.BatchingWorkerThread"
RUN = "batch.MessageRun, which repeats it"
LINES = "REPEATED and silence_repetition"
LIMITS = "TimeoutManager and interrupts.LiftableTimeLimit"
SHUTDOWNS = "ShutdownManager and interrupts.LiftableShutdown"
GROUPS = "groups.run_as_a_whole"
RETRIES = "retries.OutboxRetries, which repeats it"
ERRORS = "error_of"
COROUTINES = "without_event_loop and coroutines"
WORKERS = "without_worker, and testing.stub_broker, which calls it"
INLINE = "testing.inline, which calls it"
STUB = "testing.stub_broker, which has the same methods over rows"
FOLLOW_UPS = "worker.follow_ups, which repeats it"


@pytest.mark.parametrize(
    ("part", "digest", "use"),
    [
        ("dramatiq.worker:Worker.start", "e7ddb0d997c7", THREADS),
        ("dramatiq.worker:Worker._add_worker", "cafe781cfd6a", THREADS),
        ("dramatiq.worker:WorkerThread.__init__", "293a02c845bb", THREADS),
        ("dramatiq.worker:WorkerThread.run", "be1857ff35b7", THREADS),
        ("dramatiq.worker:_WorkQueueItem", "42aadef56603", THREADS),
        ("dramatiq.worker:WorkerThread.process_message", "6b29f8096704", RUN),
        ("dramatiq.worker:ConsumerThread.run", "6003fa992426", LINES),
        ("dramatiq.worker:ConsumerThread.post_process_message", "34d4806bcc9e", RUN),
        ("dramatiq.middleware.time_limit:_CtypesTimeoutManager", "caca4bb746ac", LIMITS),
        ("dramatiq.middleware.time_limit:TimeLimit.__init__", "c4490f01dd21", LIMITS),
        ("dramatiq.middleware.time_limit:TimeLimit.before_process_message", "8a247c08b648", LIMITS),
        ("dramatiq.middleware.time_limit:TimeLimit.after_process_message", "f59455651e00", LIMITS),
        ("dramatiq.middleware.shutdown:_CtypesShutdownManager", "48a948732547", SHUTDOWNS),
        ("dramatiq.middleware.shutdown:ShutdownNotifications.__init__", "c7d933fa4306", SHUTDOWNS),
        ("dramatiq.middleware.shutdown:ShutdownNotifications.before_process_message", "02687dadb31c", SHUTDOWNS),
        ("dramatiq.middleware.shutdown:ShutdownNotifications.after_process_message", "4e5462ede4cd", SHUTDOWNS),
        ("dramatiq.broker:MessageProxy.stuff_exception", "9415400494d5", ERRORS),
        ("dramatiq.actor:Actor.__init__", "b518baeefd9d", COROUTINES),
        ("dramatiq.asyncio:async_to_sync", "c39703a4ee09", COROUTINES),
        ("dramatiq.asyncio:EventLoopThread", "1ff80b8db0b6", COROUTINES),
        ("dramatiq.middleware.asyncio:AsyncIO", "2d5915161fb9", COROUTINES),
        ("dramatiq.composition:group.run", "f38d30c5479a", GROUPS),
        ("dramatiq.middleware.retries:Retries.after_process_message", "54139ce3ab77", RETRIES),
        ("dramatiq.worker:_WorkerMiddleware", "e4d3adc675eb", WORKERS),
        ("dramatiq.worker:Worker.stop", "b07f970155fe", WORKERS),
        ("dramatiq.worker:ConsumerThread.handle_message", "8b12bea8fc89", INLINE),
        ("dramatiq.brokers.stub:StubBroker", "8812314eb2c7", STUB),
        ("dramatiq.middleware.pipelines:Pipelines.after_process_message", "eca6f1a16231", FOLLOW_UPS),
        ("dramatiq.middleware.callbacks:Callbacks.after_process_message", "4f7d65101913", FOLLOW_UPS),
    ],
)
def test_what_is_relied_on_has_not_changed(part: str, digest: str, use: str) -> None:
    fail_if_changed(part, digest, use, module="actors/outbox/worker/dramatiq_internals.py")
