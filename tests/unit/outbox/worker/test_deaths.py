"""A message that dies has failed for Dramatiq's middleware too, and its callbacks see what Dramatiq's own would."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import dramatiq
import pytest
from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.errors import Retry
from dramatiq.middleware import CurrentMessage, SkipMessage
from dramatiq.results import ResultFailure, ResultMissing, Results
from dramatiq.results.backends import StubBackend

from actors.outbox.dead_letters import decisions
from actors.outbox.envelope import RETRY_OPTIONS
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import Operator, OutboxMessage, State
from actors.outbox.worker import execution, failures
from actors.outbox.worker.poison import MAX_STARTS, SUSPECT_STARTS
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import HOW_TO_SETTLE, add_effect, effects, only_row, raise_database_away

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]
Use = Callable[[Middleware], None]


class Recorder(Middleware):
    """Records the hooks that Dramatiq calls for a message, with its retries as its options have them."""

    def __init__(self) -> None:
        self.hooks: list[tuple[str, int | None]] = []

    def before_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
        self.hooks.append(("before_enqueue", message.options.get("retries")))

    def after_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
        self.hooks.append(("after_enqueue", message.options.get("retries")))

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self.hooks.append(("before_process_message", message.options.get("retries")))

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        assert message.failed
        self.hooks.append(("after_nack", message.options.get("retries")))


class FailsLate(Middleware):
    """Fails each message after its run."""

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        message.fail()


@pytest.fixture
def use() -> Iterator[Use]:
    """Add a middleware for one test, first in the list: its `after` hooks are called last."""
    broker = dramatiq.get_broker()
    before = list(broker.middleware)
    yield lambda one: broker.middleware.insert(0, one)
    broker.middleware[:] = before


@pytest.fixture
def recorder(use: Use) -> Recorder:
    recorder = Recorder()
    use(recorder)
    return recorder


@pytest.fixture
def results(use: Use) -> StubBackend:
    """The results of all actors."""
    backend = StubBackend()
    use(Results(backend=backend, store_results=True))
    return backend


def fail(*_: Any) -> NoReturn:
    raise ValueError("wrong")


def die_of(reason: str, actor: Declare, **options: Any) -> dramatiq.Message[Any]:
    """Send a message that dies of `reason` in its first delivery."""
    if reason == "throws":
        return actor(fail, throws=ValueError, **options).send()
    if reason == "failure not handled":
        return actor(fail, retry_when=fail, **options).send()
    if reason == "starts exceeded":
        message = actor(add_effect, **options).send()
        OutboxMessage.objects.update(starts=MAX_STARTS)
        return message
    return actor(fail, max_retries=0, **options).send()


REASONS = ["throws", "retries exhausted", "starts exceeded", "failure not handled"]


# What Dramatiq's middleware sees


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_a_death_is_a_rejection_and_its_error_the_result(
    inline_worker: InlineWorker,
    actor: Declare,
    recorder: Recorder,
    results: StubBackend,
    reason: str,
    options: dict[str, bool],
) -> None:
    message = die_of(reason, actor, **options)
    assert inline_worker.deliver(only_row(), redelivered=reason == "starts exceeded") == "nack"
    assert (only_row().state, only_row().reason) == (State.DEAD, reason)
    assert [name for name, _ in recorder.hooks].count("after_nack") == 1
    with pytest.raises(ResultFailure, match="starts exceeded" if reason == "starts exceeded" else "ValueError"):
        message.get_result(backend=results)


def test_one_that_cannot_be_called_is_rejected_too(
    inline_worker: InlineWorker, actor: Declare, results: StubBackend
) -> None:
    message = actor(lambda **_: None, max_retries=0).send_with_options(kwargs={"self": 1})
    assert inline_worker.deliver(only_row()) == "nack"
    with pytest.raises(ResultFailure, match="TypeError"):
        message.get_result(backend=results)


def test_a_retry_is_enqueued_again_for_middleware_and_is_no_rejection(
    inline_worker: InlineWorker, actor: Declare, recorder: Recorder, results: StubBackend
) -> None:
    message = actor(fail, max_retries=1).send()
    assert inline_worker.deliver(only_row()) == "ack"
    with pytest.raises(ResultMissing):
        message.get_result(backend=results)
    assert inline_worker.deliver(only_row()) == "nack"
    assert recorder.hooks == [
        ("before_enqueue", None),
        ("after_enqueue", None),
        ("before_process_message", None),
        ("before_enqueue", 1),
        ("after_enqueue", 1),
        ("before_process_message", 1),
        ("after_nack", 2),
    ]


@pytest.mark.parametrize("max_retries", [0, 1])
def test_an_outcome_that_is_not_committed_is_none_for_middleware(
    inline_worker: InlineWorker,
    actor: Declare,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    max_retries: int,
) -> None:
    write = failures.write_failure

    def write_and_lose(*arguments: Any) -> None:
        from django.db import transaction

        with transaction.atomic():
            write(*arguments)
            raise_database_away()

    actor(fail, max_retries=max_retries).send()
    recorder.hooks.clear()
    monkeypatch.setattr(execution, "write_failure", write_and_lose)
    inline_worker.stop()
    assert inline_worker.deliver(only_row()) == "ack"  # left for redelivery: the consumer sends no ack
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)
    assert {name for name, _ in recorder.hooks} <= {"before_process_message", "before_enqueue"}
    assert (only_row().state, only_row().attempt) == (State.PENDING, 0)


@pytest.mark.parametrize("options", HOW_TO_SETTLE[:2])
def test_a_copy_that_comes_later_does_not_replace_the_result(
    inline_worker: InlineWorker, actor: Declare, results: StubBackend, options: dict[str, bool]
) -> None:
    message = actor(lambda: 7, **options).send()
    row = only_row()
    inline_worker.deliver(row)
    inline_worker.deliver(row, redelivered=True)
    assert message.get_result(backend=results) == 7


def test_a_suspect_that_has_to_wait_has_no_result_yet(
    inline_worker: InlineWorker, actor: Declare, results: StubBackend
) -> None:
    message = actor(lambda: 7).send()
    OutboxMessage.objects.update(starts=SUSPECT_STARTS)
    inline_worker.deliver(only_row(), redelivered=True)
    with pytest.raises(ResultMissing):
        message.get_result(backend=results)
    inline_worker.deliver(only_row())
    assert message.get_result(backend=results) == 7


def test_what_a_middleware_skips_has_no_result_as_ever(
    inline_worker: InlineWorker, actor: Declare, results: StubBackend, use: Use
) -> None:
    class SkipAll(Middleware):
        def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
            raise SkipMessage("paused")

    use(SkipAll())
    message = actor(lambda: 7).send()
    inline_worker.deliver(only_row())
    assert message.get_result(backend=results) is None


# What a middleware fails after the run


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_a_success_that_a_middleware_fails_becomes_a_dead_letter_and_its_effect_stays(
    inline_worker: InlineWorker, actor: Declare, use: Use, options: dict[str, bool]
) -> None:
    use(FailsLate())
    actor(add_effect, **options).send_with_options(args=("one",), subject="task:1")
    before = only_row()
    assert inline_worker.deliver(before) == "nack"
    dead = only_row()
    assert (dead.state, dead.reason, dead.pk == before.pk) == (State.DEAD, "failed by a middleware", False)
    assert (dead.message_id, bytes(dead.body), dead.subject) == (before.message_id, bytes(before.body), "task:1")
    assert "a replay would repeat it" in dead.error
    assert dead.claimed_at is not None  # it is not counted among those of other programs
    assert effects() == ["one"]


def test_a_retry_that_a_middleware_fails_ends(inline_worker: InlineWorker, actor: Declare, use: Use) -> None:
    use(FailsLate())
    actor(fail).send()
    assert inline_worker.deliver(only_row()) == "nack"
    assert (only_row().state, only_row().reason) == (State.DEAD, "failed by a middleware")
    assert only_row().error == "ValueError: wrong"
    assert "in fail" in only_row().traceback


def test_a_death_that_a_middleware_fails_too_is_one(inline_worker: InlineWorker, actor: Declare, use: Use) -> None:
    use(FailsLate())
    actor(fail, throws=ValueError).send()
    assert inline_worker.deliver(only_row()) == "nack"
    assert only_row().reason == "throws"


def test_a_dead_letter_that_cannot_be_written_before_the_worker_stops_leaves_the_message_for_redelivery(
    inline_worker: InlineWorker, actor: Declare, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(FailsLate())
    monkeypatch.setattr(execution, "write_late_failure", lambda *arguments: raise_database_away())
    actor(add_effect).send("one")
    inline_worker.stop()
    inline_worker.deliver(only_row())
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)
    assert effects() == ["one"]


# What callbacks and retries see


def test_callbacks_see_the_options_of_a_retry(inline_worker: InlineWorker, actor: Declare) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    actor(lambda message, _: seen.append(("failure", message["options"])), actor_name="note_failure")
    actor(lambda message, info: seen.append((str(info), message["options"])), actor_name="note_end")
    before_ms = int(time.time() * 1000)
    actor(fail, max_retries=1, on_failure="note_failure", on_retry_exhausted="note_end").send()
    failing = only_row()
    for _ in range(2):
        failing.refresh_from_db()
        inline_worker.deliver(failing)
        inline_worker.deliver_all()
    info = "{'retries': 1, 'max_retries': 1}"
    assert [(name, options["retries"]) for name, options in seen] == [("failure", 1), ("failure", 2), (info, 2)]
    for _, options in seen:
        assert "in fail\n" in options["traceback"]
        assert options["requeue_timestamp"] >= before_ms


def test_callbacks_of_what_is_not_retried_see_none(inline_worker: InlineWorker, actor: Declare) -> None:
    seen: list[dict[str, Any]] = []
    actor(lambda message, _: seen.append(message["options"]), actor_name="note_failure")
    actor(fail, throws=ValueError, on_failure="note_failure").send()
    inline_worker.deliver(only_row())
    inline_worker.deliver_all()
    assert not set(RETRY_OPTIONS) & set(seen[0])


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_a_retry_has_them_and_its_arguments_as_they_were_sent(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    seen: list[Any] = []

    def work(items: list[int]) -> None:
        message = CurrentMessage.get_current_message()
        assert message is not None
        seen.append((list(items), message.options.get("retries"), message.options.get("traceback", "")))
        items.append(0)
        if len(seen) < 3:
            raise ValueError(f"failure {len(seen)}")

    actor(work, **options).send([1])
    for _ in range(3):
        inline_worker.deliver(only_row())
    assert [each[:2] for each in seen] == [([1], None), ([1], 1), ([1], 2)]
    assert "failure 2" in seen[2][2]
    assert "failure 1" not in seen[2][2]
    assert not OutboxMessage.objects.exists()


def test_a_replay_begins_without_the_retries_before_it(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(fail, max_retries=1).send()
    sent = bytes(only_row().body)
    for _ in range(2):
        inline_worker.deliver(only_row())
    assert json.loads(bytes(only_row().body))["options"]["retries"] == 1
    decisions.replay(OutboxMessage.objects.all(), by=Operator(name="operator"), why="mended")
    assert bytes(only_row().body) == sent


def test_a_retry_that_was_asked_for_is_one_too(inline_worker: InlineWorker, actor: Declare) -> None:
    def ask() -> NoReturn:
        raise Retry("later", delay=5_000)

    actor(ask).send()
    inline_worker.deliver(only_row())
    assert json.loads(bytes(only_row().body))["options"]["retries"] == 1
