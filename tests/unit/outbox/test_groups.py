"""Groups and pipelines are sent as a whole or not at all; options that the outbox cannot guarantee are refused."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from dramatiq import Message, group, pipeline
from dramatiq.brokers.stub import StubBroker

from actors.outbox import groups
from actors.outbox.exceptions import NotSupported
from actors.outbox.models import OutboxMessage
from tests.unit.outbox.inline_worker import InlineWorker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture(autouse=True)
def atomic_groups() -> None:
    groups.make_groups_atomic()


@pytest.fixture
def note(actor: Declare) -> dramatiq.Actor[Any, Any]:
    """An actor whose effect is a row with all its arguments, and whose result is that row's name."""

    def write(*words: str) -> str:
        return Group.objects.create(name=" ".join(words)).name

    return actor(write, max_retries=0)


def effects() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


def waiting() -> list[tuple[Any, ...]]:
    """Return the arguments of the pending messages, in the order in which they were sent."""
    rows = OutboxMessage.objects.order_by("pk").values_list("body", flat=True)
    return [Message.decode(bytes(body)).args for body in rows]


def unsendable(note: dramatiq.Actor[Any, Any]) -> Message[Any]:
    """A message that fails where it is sent."""
    return note.message(object())


def test_a_group_does_the_work_of_all(inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]) -> None:
    group([note.message("a"), note.message("b")]).run()
    inline_worker.deliver_all()
    assert effects() == ["a", "b"]


def test_a_group_is_sent_as_a_whole_or_not_at_all(note: dramatiq.Actor[Any, Any]) -> None:
    with pytest.raises(TypeError):
        group([note.message("a"), unsendable(note)]).run()
    assert waiting() == []


@pytest.mark.parametrize("inner", [group, pipeline])
def test_what_is_nested_in_a_group_is_part_of_the_whole(note: dramatiq.Actor[Any, Any], inner: Any) -> None:
    nested = inner([note.message("a"), note.message("b")])
    with pytest.raises(TypeError):
        group([nested, unsendable(note)]).run()
    assert waiting() == []


def test_a_group_that_fails_leaves_the_caller_s_transaction_usable(note: dramatiq.Actor[Any, Any]) -> None:
    with transaction.atomic():
        note.send("before")
        with pytest.raises(TypeError):
            group([note.message("a"), unsendable(note)]).run()
        note.send("after")
    assert waiting() == [("before",), ("after",)]


def test_a_group_rolls_back_with_the_caller_s_transaction(note: dramatiq.Actor[Any, Any]) -> None:
    with transaction.atomic():
        group([note.message("a"), note.message("b")]).run()
        transaction.set_rollback(True)
    assert waiting() == []


def test_nested_groups_and_pipelines_do_the_work_of_all(
    inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]
) -> None:
    chain = note.message("c") | note.message("d")
    group([group([note.message("a"), note.message("b")]), chain, note.message("e")]).run()
    inline_worker.deliver_all()
    assert effects() == ["a", "b", "c", "d c", "e"]


def test_a_group_s_delay_is_each_message_s(note: dramatiq.Actor[Any, Any]) -> None:
    group([note.message("a"), note.message("b") | note.message("c")]).run(delay=60_000)
    for row in OutboxMessage.objects.all():
        assert 59 < (row.due_at - row.created_at).total_seconds() < 61


def test_an_empty_group_is_nothing() -> None:
    assert len(group([]).run()) == 0
    assert waiting() == []


def test_a_group_of_another_broker_is_that_broker_s_affair() -> None:
    broker = StubBroker()
    broker.declare_queue("other")
    message: Message[Any] = Message(queue_name="other", actor_name="x", args=(), kwargs={}, options={})
    group([message], broker=broker).run()
    assert broker.queues["other"].qsize() == 1
    assert waiting() == []


def test_to_make_groups_atomic_again_does_nothing(note: dramatiq.Actor[Any, Any]) -> None:
    groups.make_groups_atomic()
    group([note.message("a")]).run()
    assert waiting() == [("a",)]


def test_a_group_in_a_manual_transaction_is_refused(note: dramatiq.Actor[Any, Any]) -> None:
    connection.set_autocommit(False)
    try:
        with pytest.raises(NotSupported, match="set_autocommit"):
            group([note.message("a")]).run()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert waiting() == []


@pytest.mark.parametrize("nested", [False, True])
def test_completion_callbacks_are_refused_before_anything_is_sent(note: dramatiq.Actor[Any, Any], nested: bool) -> None:
    awaited = group([note.message("b")])
    awaited.add_completion_callback(note.message("done"))
    refused = group([note.message("a"), awaited]) if nested else awaited
    with pytest.raises(NotSupported, match="completion callbacks are not supported"):
        refused.run()
    assert waiting() == []


@pytest.mark.parametrize("option", ["group_completion_uuid", "group_completion_callbacks", "broker_priority"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_what_is_refused_of_a_message_is_refused_of_any_step_of_a_pipeline(
    note: dramatiq.Actor[Any, Any], option: str, step: int
) -> None:
    steps = [note.message(str(number)) for number in range(3)]
    steps[step] = steps[step].copy(options={option: "x"})
    with pytest.raises(NotSupported):
        pipeline(steps).run()
    assert waiting() == []


def test_a_pipeline_passes_results_on(inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]) -> None:
    pipeline([note.message("a"), note.message("b"), note.message("c")]).run()
    assert waiting() == [("a",)]
    inline_worker.deliver_all()
    assert effects() == ["a", "b a", "c b a"]


def test_a_step_that_ignores_results_gets_none(inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]) -> None:
    pipeline([note.message("a"), note.message_with_options(args=("b",), pipe_ignore=True)]).run()
    inline_worker.deliver_all()
    assert effects() == ["a", "b"]


def test_pipelines_are_joined(inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]) -> None:
    pipeline([note.message("a") | note.message("b"), pipeline([note.message("c")]) | note.message("d")]).run()
    inline_worker.deliver_all()
    assert effects() == ["a", "b a", "c b a", "d c b a"]


def test_a_pipeline_s_delay_is_its_first_step_s(inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]) -> None:
    pipeline([note.message("a"), note.message("b")]).run(delay=60_000)
    first = OutboxMessage.objects.get()
    assert 59 < (first.due_at - first.created_at).total_seconds() < 61
    inline_worker.deliver(first)
    second = OutboxMessage.objects.get()
    assert (second.due_at - second.created_at).total_seconds() < 1


def test_a_step_s_own_delay_is_kept(inline_worker: InlineWorker, note: dramatiq.Actor[Any, Any]) -> None:
    pipeline([note.message("a"), note.message_with_options(args=("b",), delay=60_000)]).run()
    inline_worker.deliver(OutboxMessage.objects.get())
    second = OutboxMessage.objects.get()
    assert 59 < (second.due_at - second.created_at).total_seconds() < 61


def test_a_pipeline_ends_with_the_step_that_fails(
    inline_worker: InlineWorker, actor: Declare, note: dramatiq.Actor[Any, Any]
) -> None:
    fails = actor(lambda: 1 / 0, max_retries=0)
    pipeline([fails.message(), note.message("never")]).run()
    inline_worker.deliver_all()
    assert effects() == []
    assert OutboxMessage.objects.get().state == "dead"


def test_a_group_sent_by_an_actor_is_part_of_its_effect(
    inline_worker: InlineWorker, actor: Declare, note: dramatiq.Actor[Any, Any]
) -> None:
    def send_and_fail() -> None:
        group([note.message("a"), note.message("b")]).run()
        raise ValueError

    actor(send_and_fail, max_retries=0).send()
    inline_worker.deliver_all()
    assert OutboxMessage.objects.get().state == "dead"
    assert effects() == []


def test_to_ask_for_a_result_without_a_backend_is_dramatiq_s_own_error(note: dramatiq.Actor[Any, Any]) -> None:
    sent = note.send("a")
    with pytest.raises(RuntimeError, match="backend"):
        sent.get_result()
    with pytest.raises(RuntimeError, match="backend"):
        list(group([note.message("b")]).run().get_results())
