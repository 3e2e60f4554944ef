"""A send inserts a row in the caller's transaction."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.db import DataError, connection, transaction
from dramatiq.errors import ActorNotFound
from pytest_django import DjangoAssertNumQueries

from actors.outbox import envelope
from actors.outbox.amqp.connection import CONNECT_TIMEOUT_SECONDS
from actors.outbox.broker import BLOCKED_TIMEOUT_SECONDS, HEARTBEAT_SECONDS, OutboxRabbitmqBroker
from actors.outbox.context import Context, sent_by
from actors.outbox.exceptions import NotSupported
from actors.outbox.models import OutboxMessage, State
from tests.unit.outbox.inline_worker import InlineWorker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture
def nothing(actor: Declare) -> dramatiq.Actor[Any, Any]:
    return actor(lambda *args: None)


def test_a_send_is_one_statement(
    nothing: dramatiq.Actor[Any, Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        nothing.send(1)


def test_a_send_rolls_back_with_its_transaction(nothing: dramatiq.Actor[Any, Any]) -> None:
    with transaction.atomic():
        nothing.send(1)
        transaction.set_rollback(True)
    assert not OutboxMessage.objects.exists()


def test_a_send_rolls_back_with_its_savepoint(nothing: dramatiq.Actor[Any, Any]) -> None:
    with transaction.atomic():
        nothing.send("outer")
        with transaction.atomic():
            nothing.send("inner")
            transaction.set_rollback(True)
    assert dramatiq.Message.decode(bytes(OutboxMessage.objects.get().body)).args == ("outer",)


def test_what_cannot_be_encoded_fails_where_it_is_sent(nothing: dramatiq.Actor[Any, Any]) -> None:
    with pytest.raises(TypeError):
        nothing.send(object())
    assert not OutboxMessage.objects.exists()


def test_a_manual_transaction_is_refused(nothing: dramatiq.Actor[Any, Any]) -> None:
    connection.set_autocommit(False)
    try:
        with pytest.raises(NotSupported, match="set_autocommit"):
            nothing.send(1)
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_a_priority_is_refused(nothing: dramatiq.Actor[Any, Any]) -> None:
    with pytest.raises(NotSupported, match="broker_priority"):
        nothing.send_with_options(args=(1,), broker_priority=5)


def test_a_broker_with_priorities_is_refused() -> None:
    with pytest.raises(NotSupported, match="max_priority"):
        OutboxRabbitmqBroker(url="amqp://one/", max_priority=10)


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ({"url": "amqp://one/"}, ["one"]),
        ({"url": "amqp://one/;amqp://two/"}, ["one", "two"]),
        ({"url": ["amqp://one/", "amqp://two/"]}, ["one", "two"]),
        ({"parameters": [{"host": "one"}, {"host": "two"}]}, ["one", "two"]),
        ({"host": "one"}, ["one"]),
    ],
)
def test_addresses_are_given_as_to_dramatiqs_broker_and_have_our_time_outs(
    options: dict[str, Any], hosts: list[str]
) -> None:
    addresses = OutboxRabbitmqBroker(**options).parameters
    assert [each.host for each in addresses] == hosts
    for each in addresses:
        assert (each.heartbeat, each.blocked_connection_timeout) == (HEARTBEAT_SECONDS, BLOCKED_TIMEOUT_SECONDS)
        assert each.stack_timeout == each.socket_timeout == CONNECT_TIMEOUT_SECONDS


def test_of_messages_with_one_key_one_at_a_time_is_on_its_way(
    inline_worker: InlineWorker, nothing: dramatiq.Actor[Any, Any]
) -> None:
    nothing.send_with_options(args=("first",), dedupe_key="once")
    nothing.send_with_options(args=("again",), dedupe_key="once")
    assert dramatiq.Message.decode(bytes(OutboxMessage.objects.get().body)).args == ("first",)
    inline_worker.deliver_all()
    nothing.send_with_options(args=("later",), dedupe_key="once")
    assert dramatiq.Message.decode(bytes(OutboxMessage.objects.get().body)).args == ("later",)


def test_a_dead_letter_s_key_blocks_no_other_message(nothing: dramatiq.Actor[Any, Any]) -> None:
    nothing.send_with_options(dedupe_key="once")
    OutboxMessage.objects.all().mark_dead("throws")
    nothing.send_with_options(dedupe_key="once")
    assert OutboxMessage.objects.filter(dedupe_key="once").count() == 1
    assert OutboxMessage.objects.count() == 2


def test_a_value_that_does_not_fit_is_an_error_at_the_call(nothing: dramatiq.Actor[Any, Any]) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite takes texts of any length")
    with pytest.raises(DataError), transaction.atomic():
        nothing.send_with_options(subject="x" * 101)
    assert not OutboxMessage.objects.exists()


def test_the_origin_is_captured_where_it_is_sent(nothing: dramatiq.Actor[Any, Any]) -> None:
    with sent_by(Context(request_id="r-1", changed_by="user1", changed_by_id=7)):
        nothing.send_with_options(subject="task:1")
    row = OutboxMessage.objects.get()
    assert (row.request_id, row.changed_by, row.changed_by_id, row.subject) == ("r-1", "user1", 7, "task:1")


def test_what_is_to_wait_is_scheduled(nothing: dramatiq.Actor[Any, Any]) -> None:
    nothing.send_with_options(delay=60_000)
    row = OutboxMessage.objects.get()
    assert row.state == State.SCHEDULED
    assert (row.due_at - row.created_at).total_seconds() == pytest.approx(60, abs=1)


def test_an_empty_key_is_no_key(nothing: dramatiq.Actor[Any, Any]) -> None:
    for _ in range(2):
        nothing.send_with_options(dedupe_key="")
    assert OutboxMessage.objects.filter(dedupe_key=None).count() == 2


def test_a_time_of_dramatiq_s_own_is_refused_and_does_not_travel(nothing: dramatiq.Actor[Any, Any]) -> None:
    with pytest.raises(NotSupported, match="delay"):
        nothing.send_with_options(eta=1)
    nothing.send()
    row = OutboxMessage.objects.get()
    row.body = nothing.message().copy(options={"eta": 1}).encode()
    assert "eta" not in dramatiq.Message.decode(envelope.to_amqp(row).body).options


@pytest.mark.parametrize("option", ["on_success", "on_failure", "on_retry_exhausted"])
def test_a_callback_that_names_no_actor_is_refused_at_the_send(actor: Declare, option: str) -> None:
    misspelt: dict[str, Any] = {option: "misspelt"}
    one = actor(lambda: None)
    with pytest.raises(ActorNotFound, match=f"{option}='misspelt' of {one.actor_name} names no actor"):
        one.send_with_options(**misspelt)
    other = actor(lambda: None, **misspelt)
    with pytest.raises(ActorNotFound, match="misspelt"):
        other.send()
    with pytest.raises(ActorNotFound, match="misspelt"):
        (one.message() | other.message()).run()
    assert not OutboxMessage.objects.exists()
