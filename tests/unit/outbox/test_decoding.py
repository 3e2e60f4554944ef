"""Whatever bytes come from RabbitMQ, they are read as a message that can be run, or refused with a reason."""

import json
from typing import Any

import pytest
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from actors.outbox.decoding import FIELD_TYPES, MAX_LENGTHS, NUMBER, NUMBERS, AttemptRef, read
from tests.unit.outbox.json_values import TEXTS, VALUES, patiently

NAMES = ["queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"]
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "queue_name": TEXTS,
    "actor_name": TEXTS,
    "args": st.lists(VALUES, max_size=3),
    "kwargs": st.dictionaries(TEXTS, VALUES, max_size=3),
    "options": st.dictionaries(st.sampled_from(["outbox", "eta", "throws", *NUMBERS]), VALUES, max_size=4),
    "message_id": TEXTS,
    "message_timestamp": st.integers(),
}
REFERENCES = st.text("0123456789:+-_ ٣９", max_size=40)
# Each field right, of any value, or missing.
MESSAGES = st.fixed_dictionaries({}, optional={name: RIGHT[name] | VALUES for name in NAMES})


def check(body: bytes) -> None:
    message, problem = read(body)
    assert (message is None) == bool(problem)
    if message is None:
        return
    assert all(isinstance(getattr(message, name), kind) for name, kind in FIELD_TYPES.items())
    assert all(len(getattr(message, name)) <= longest for name, longest in MAX_LENGTHS.items())
    assert message.message_timestamp >= 0
    assert all(isinstance(message.options.get(name), NUMBER) for name in NUMBERS)
    message.message_id.encode()
    ref = AttemptRef.of(message.options)
    assert ref is None or (0 <= ref.row_id < 1 << 63 and 0 <= ref.attempt < 1 << 31)


@patiently
@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    check(body)


@patiently
@given(VALUES | MESSAGES)
def test_any_json_is_read_or_refused(value: Any) -> None:
    check(json.dumps(value).encode())


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"args":' * 100_000, b"9" * 10_000, b"\xef\xbb\xbf{}"])
def test_what_no_strategy_finds_is_refused(body: bytes) -> None:
    check(body)
    assert read(body)[0] is None


@patiently
@given(st.dictionaries(st.sampled_from(["outbox", "other"]), VALUES | REFERENCES))
def test_a_reference_fits_into_the_columns_or_is_none(options: dict[str, Any]) -> None:
    ref = AttemptRef.of(options)
    assert ref is None or (0 <= ref.row_id < 1 << 63 and 0 <= ref.attempt < 1 << 31)


@patiently
@given(st.integers(0, 10**18 - 1), st.integers(0, 10**9 - 1))
def test_a_reference_is_read_as_it_was_written(row_id: int, attempt: int) -> None:
    ref = AttemptRef(row_id=row_id, attempt=attempt)
    assert AttemptRef.of({"outbox": str(ref)}) == ref


def test_a_message_as_an_actor_sends_it_is_read() -> None:
    message: Message[Any] = Message(queue_name="q", actor_name="a", args=(1,), kwargs={}, options={"max_age": 5})
    assert read(message.encode()) == (message, "")
