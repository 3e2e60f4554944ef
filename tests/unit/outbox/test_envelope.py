"""A published message is the message as it was sent, with its attempt reference; invalid bodies are refused."""

import json
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.errors import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from actors.outbox.envelope import differences, to_amqp
from actors.outbox.models import OutboxMessage
from tests.unit.outbox.json_values import TEXTS, VALUES, patiently

FIELDS: dict[str, Any] = {
    "queue_name": "tests",
    "actor_name": "one",
    "args": [1, "\u02bb \U0001f40d", None, {"options": {}}],
    "kwargs": {"options": {"outbox": "not a reference"}, "message_id": "x"},
    "options": {"subject": "task:1"},
    "message_id": "m",
    "message_timestamp": 1_767_225_600_000,
}


# As the release before the one that compares messages with their rows published it, and what its row holds.
PUBLISHED_BEFORE = (
    b'{"queue_name":"activity","actor_name":"log_task_update","args":[7,"Yangi vazifa \\u02bb","user1",'
    b'{"owner_id":1,"version":2,"changes":{"completed":[false,true]}}],"kwargs":{},'
    b'"options":{"subject":"task:7","sequence":2,"outbox":"12:0"},'
    b'"message_id":"1b7a3c1e-6c2f-4a58-9c80-3f2b8f6f3a11","message_timestamp":1767225600000}'
)
SENT_BEFORE = PUBLISHED_BEFORE.replace(b',"outbox":"12:0"', b"")


@pytest.fixture(autouse=True)
def installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.outbox.envelope.installation_id", lambda: "ours")


def row_of(body: bytes) -> OutboxMessage:
    return OutboxMessage(pk=7, attempt=2, queue="tests", actor="one", message_id="m", body=body)


def test_the_reference_is_an_option_and_nothing_else_is_changed() -> None:
    outgoing = json.loads(to_amqp(row_of(json.dumps(FIELDS).encode())).body)
    assert outgoing == {**FIELDS, "options": {"subject": "task:1", "outbox": "7:2"}}


@pytest.mark.parametrize("lacking", ["message_id", "message_timestamp"])
def test_what_an_old_message_lacks_is_filled_in(lacking: str) -> None:
    body = json.dumps({name: value for name, value in FIELDS.items() if name != lacking}).encode()
    assert Message.decode(to_amqp(row_of(body)).body).args == tuple(FIELDS["args"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        json.dumps({**FIELDS, "args": 5}).encode(),
        json.dumps({**FIELDS, "more": 1}).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(DecodeError):
        to_amqp(row_of(body))


@pytest.mark.parametrize("options", [None, [], "text"])
def test_options_that_are_none_carry_no_reference(options: Any) -> None:
    with pytest.raises(TypeError):
        to_amqp(row_of(json.dumps({**FIELDS, "options": options}).encode()))


def test_the_headers_name_the_row_and_the_installation() -> None:
    headers = to_amqp(row_of(json.dumps(FIELDS).encode())).properties.headers
    assert (headers["outbox"], headers["installation"]) == ("7:2", "ours")


def differing(published: bytes, sent: bytes, *, queue: str = "tests") -> list[str]:
    return differences(Message.decode(published), body=sent, queue=queue)


def test_what_the_previous_release_published_equals_its_row() -> None:
    assert differing(PUBLISHED_BEFORE, SENT_BEFORE, queue="activity") == []


@patiently
@given(st.lists(VALUES, max_size=3), st.dictionaries(TEXTS, VALUES, max_size=3), st.sampled_from([{}, {"eta": 1}]))
def test_what_is_published_equals_its_row_whatever_it_says(
    args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        sent = json.dumps({**FIELDS, "args": args, "kwargs": kwargs, "options": options}, separators=separators)
        assert differing(to_amqp(row_of(sent.encode())).body, sent.encode()) == []


def test_what_a_row_lacks_is_not_compared() -> None:
    sent = json.dumps({name: value for name, value in FIELDS.items() if name != "message_timestamp"}).encode()
    assert differing(to_amqp(row_of(sent)).body, sent) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"actor_name": "two"},
        {"queue_name": "another"},
        {"args": [True, *FIELDS["args"][1:]]},
        {"args": [1.0, *FIELDS["args"][1:]]},
        {"args": [*FIELDS["args"], 2]},
        {"args": []},
        {"kwargs": {}},
        {"kwargs": {**FIELDS["kwargs"], "more": 1}},
        {"options": {}},
        {"options": {"subject": "task:2"}},
        {"options": {"subject": "task:1", "on_success": "two"}},
        {"options": {"subject": "task:1", "max_retries": 0}},
        {"options": {"subject": "task:1", "max_age": 1}},
        {"message_id": "n"},
        {"message_timestamp": 1},
    ],
)
def test_a_field_that_was_changed_is_named(changes: dict[str, Any]) -> None:
    sent = json.dumps(FIELDS).encode()
    assert differing(json.dumps({**FIELDS, **changes}).encode(), sent) == list(changes)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"options": null}', b"[" * 100_000])
def test_nothing_equals_a_row_without_a_message(body: bytes) -> None:
    assert differing(PUBLISHED_BEFORE, body)
