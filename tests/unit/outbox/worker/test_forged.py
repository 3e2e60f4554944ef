"""A message that differs from its row runs nothing and changes no row: access to RabbitMQ is none to the database."""

import json
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group

from actors.outbox import envelope
from actors.outbox.models import OutboxMessage
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import add_effect, effects, only_row, raise_database_away

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]
KINDS: dict[str, dict[str, Any]] = {
    "transaction": {},
    "outside": {"outside_effects": True},
    "rows": {"returns_rows": True},
}
FORGERIES: dict[str, dict[str, Any]] = {
    "arguments": {"args": ["forged"]},
    "names of arguments": {"kwargs": {"text\n\x1b[2J": "forged"}},
    "what Dramatiq cannot call": {"kwargs": {"self": 1}},
    "another actor": {"actor_name": "another", "args": ["forged"]},
    "a follow-up": {"options": {"on_success": "another"}},
    "a pipeline": {"options": {"pipe_target": {"queue_name": "tests", "actor_name": "another", "args": ["forged"]}}},
    "no retries": {"options": {"max_retries": 0}},
    "a time limit": {"options": {"time_limit": 1}},
    "what fails before the actor": {"options": {"time_limit": float("nan")}, "message_timestamp": 0},
    "garbage": {"options": {"max_retries": "x", "min_backoff": [], "dedupe_key": {}, "notify_shutdown": {"a": 1}}},
    "another time": {"message_timestamp": 1},
}


def returned_group(text: str = "one") -> Group:
    return Group(name=text)


def forge(row: OutboxMessage, changes: dict[str, Any]) -> bytes:
    fields = json.loads(envelope.to_amqp(row).body)
    options = {**fields["options"], **changes.get("options", {})}
    return json.dumps({**fields, **changes, "options": options}).encode()


def state_of(row: OutboxMessage) -> list[Any]:
    return list(OutboxMessage.objects.filter(pk=row.pk).values_list())


@pytest.mark.parametrize("redelivered", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_copy_runs_nothing_and_the_true_one_runs(
    inline_worker: InlineWorker, actor: Declare, forgery: str, kind: str, redelivered: bool
) -> None:
    actor(add_effect, actor_name="another")
    actor(returned_group if kind == "rows" else add_effect, **KINDS[kind]).send("one")
    row, before = only_row(), state_of(only_row())
    ended = inline_worker.deliver_copy(forge(row, FORGERIES[forgery]), redelivered=redelivered)
    assert (ended, effects(), state_of(row)) == ("ack", [], before)
    inline_worker.deliver(row)
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


def test_one_that_was_too_old_is_rejected_and_its_row_stays(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send("one")
    before = state_of(only_row())
    copy = forge(only_row(), {"options": {"max_age": 1}, "message_timestamp": 1})
    assert (inline_worker.deliver_copy(copy), state_of(only_row())) == ("nack", before)


def test_it_is_logged_in_one_line_with_its_row_and_what_differs(
    inline_worker: InlineWorker, actor: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    actor(add_effect).send("one")
    row = only_row()
    inline_worker.deliver_copy(forge(row, {"args": ["forged"], "options": {"subject": "a\nb"}}))
    [line] = [record.getMessage() for record in caplog.records if record.name.endswith("worker.delivery")]
    assert line.startswith(f"forged message dropped row={row.pk}:0 differs=args, options")
    assert line.isprintable()


def test_a_message_that_the_previous_release_published_runs(inline_worker: InlineWorker, actor: Declare) -> None:
    one = actor(add_effect, actor_name="one")
    one.send_with_options(args=("one",), subject="task:1")
    sent = bytes(only_row().body)
    reference = b',"outbox":"%d:0"},"message_id"' % only_row().pk
    inline_worker.deliver_copy(sent.replace(b'},"message_id"', reference))
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


@pytest.mark.parametrize("kind", ["transaction", "outside"])
def test_a_message_whose_actor_changes_its_arguments_is_no_forged_one(
    inline_worker: InlineWorker, actor: Declare, kind: str
) -> None:
    def change_then_lose_the_database(names: list[str]) -> None:
        names.append("more")
        if len(names) == 2:
            raise_database_away()
        add_effect()

    actor(change_then_lose_the_database, **KINDS[kind]).send(["one"])
    inline_worker.deliver(only_row())
    assert (effects(), OutboxMessage.objects.count()) == (["effect"], 0)
