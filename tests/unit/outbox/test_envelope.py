"""A published message is the message as it was sent, with its attempt reference; invalid bodies are refused."""

import json
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors.outbox.envelope import to_amqp
from actors.outbox.models import OutboxMessage

FIELDS: dict[str, Any] = {
    "queue_name": "tests",
    "actor_name": "one",
    "args": [1, "\u02bb \U0001f40d", None, {"options": {}}],
    "kwargs": {"options": {"outbox": "not a reference"}, "message_id": "x"},
    "options": {"subject": "task:1"},
    "message_id": "m",
    "message_timestamp": 1_767_225_600_000,
}


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
