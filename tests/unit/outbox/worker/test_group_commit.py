"""Group commit: the rows of many messages are written in one transaction, and only a message at fault fails."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError
from dramatiq.middleware import SkipMessage

from actors.outbox.decoding import AttemptRef
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker.group_commit import Completion, rows_of, settle, settle_batch, settle_together
from tests.unit.outbox.inline_worker import InlineWorker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


def effects() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


@pytest.fixture
def completion_of(actor: Declare) -> Callable[..., Completion]:
    """Send a message and return its completion, with rows of the given names."""
    one = actor(lambda: None)

    def make(*names: str, follow_up: Callable[[], Any] = lambda: None) -> Completion:
        one.send()
        row = OutboxMessage.objects.latest("pk")
        ref = AttemptRef(row_id=row.pk, attempt=0)
        return Completion(ref=ref, rows=[Group(name=name) for name in names], follow_up=follow_up)

    return make


CompletionOf = Callable[..., Completion]


def test_rows_are_written_and_messages_settled_together(completion_of: CompletionOf) -> None:
    settle_together([completion_of("a"), completion_of("b", "c"), completion_of()])
    assert (effects(), OutboxMessage.objects.count()) == (["a", "b", "c"], 0)


def test_what_was_settled_before_writes_nothing(completion_of: CompletionOf) -> None:
    gone, owed = completion_of("gone"), completion_of("owed")
    OutboxMessage.objects.filter(pk=gone.ref.row_id).delete()
    settle_together([gone, owed])
    assert (effects(), gone.was_unsettled, owed.was_unsettled) == (["owed"], False, True)


def test_two_copies_in_one_group_write_once(completion_of: CompletionOf) -> None:
    first = completion_of("once")
    second = Completion(ref=first.ref, rows=[Group(name="twice")], follow_up=lambda: None)
    settle_together([first, second])
    assert len(effects()) == 1
    assert [first.was_unsettled, second.was_unsettled].count(True) == 1


def test_an_older_attempt_takes_nothing_from_a_newer_one(completion_of: CompletionOf) -> None:
    old = completion_of("old")
    OutboxMessage.objects.update(attempt=1)
    new = Completion(ref=AttemptRef(row_id=old.ref.row_id, attempt=1), rows=[Group(name="new")], follow_up=lambda: None)
    settle_together([old, new])
    assert (effects(), old.was_unsettled, new.was_unsettled) == (["new"], False, True)


def test_a_dead_letter_stays_dead(completion_of: CompletionOf) -> None:
    completion = completion_of("never")
    OutboxMessage.objects.update(state=State.DEAD)
    with pytest.raises(SkipMessage):
        settle(completion)
    assert (effects(), OutboxMessage.objects.count()) == ([], 1)


def test_one_whose_rows_do_not_fit_fails_alone(completion_of: CompletionOf) -> None:
    Group.objects.create(name="taken")
    good, misfit, fine = completion_of("good"), completion_of("taken"), completion_of("fine")
    settle_batch([good, misfit, fine])
    assert (effects(), good.is_done, misfit.is_done, fine.is_done) == (["fine", "good", "taken"], True, False, True)
    with pytest.raises(IntegrityError):
        settle(misfit)
    assert effects() == ["fine", "good", "taken"]
    assert OutboxMessage.objects.get().pk == misfit.ref.row_id


def test_a_follow_up_that_fails_undoes_the_rows(completion_of: CompletionOf) -> None:
    def fail() -> None:
        raise ValueError("no such actor")

    with pytest.raises(ValueError, match="no such actor"):
        settle(completion_of("undone", follow_up=fail))
    assert (effects(), OutboxMessage.objects.count()) == ([], 1)


def test_an_actor_s_rows_are_written_for_it(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(lambda name: Group(name=name), returns_rows=True).send("row")
    assert inline_worker.deliver(OutboxMessage.objects.get()) == "ack"
    assert (effects(), OutboxMessage.objects.count()) == (["row"], 0)


def test_a_second_copy_does_not_even_run(inline_worker: InlineWorker, actor: Declare) -> None:
    runs: list[int] = []
    actor(lambda: runs.append(1), returns_rows=True).send()
    row = OutboxMessage.objects.get()
    inline_worker.deliver(row)
    inline_worker.deliver(row)
    assert runs == [1]


def test_a_failure_to_write_the_rows_is_the_message_s_failure(inline_worker: InlineWorker, actor: Declare) -> None:
    Group.objects.create(name="taken")
    actor(lambda: Group(name="taken"), returns_rows=True).send()
    inline_worker.deliver(OutboxMessage.objects.get())
    row = OutboxMessage.objects.get()
    assert (row.state, row.attempt) == (State.SCHEDULED, 1)
    assert row.error.startswith("IntegrityError")


def test_called_as_a_function_its_rows_are_written_as_well(actor: Declare) -> None:
    actor(lambda: [Group(name="a"), Group(name="b")], returns_rows=True)()
    assert effects() == ["a", "b"]


@pytest.mark.parametrize("result", ["text", 5, {"a": 1}, [Group(name="a"), 5]])
def test_anything_but_rows_is_refused(result: Any) -> None:
    with pytest.raises(TypeError, match="must return a model instance"):
        rows_of(result, actor_name="one")
