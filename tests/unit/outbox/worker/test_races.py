"""Races between copies, workers, locks and outages that once lost or repeated work, or could have."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, LiteralString
from uuid import uuid4

import dramatiq
import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import InterfaceError, InternalError, connection, transaction
from django.db.models.functions import Now
from dramatiq import Message, MessageProxy
from dramatiq.middleware import Shutdown, SkipMessage
from psycopg.sql import SQL

from actors.outbox import store
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import Operator, OutboxMessage, State
from actors.outbox.operations.cancel import cancel
from actors.outbox.relay import relay
from actors.outbox.worker import delivery, execution_lease
from actors.outbox.worker.execution import MAX_CUTS
from actors.outbox.worker.execution_lease import ExecutionLease, LeaseRenewer
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import (
    HOW_TO_SETTLE,
    add_effect,
    effects,
    in_another_thread,
    locked_until,
    only_row,
    raise_database_away,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture
def short_locks(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no row locks")
    monkeypatch.setattr(delivery, "LOCK_TIMEOUT_MS", 100)


@contextmanager
def locked_for(seconds: float, row: Any) -> Iterator[None]:
    """Keep a row locked by another transaction for so many seconds from now on."""
    end = threading.Event()
    with locked_until(end, row) as locker:
        threading.Timer(seconds, end.set).start()
        yield
        locker.join()


def test_a_message_of_an_older_database_does_not_settle_a_row_of_the_same_id(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    one = actor(add_effect)
    one.send("new")
    row = only_row()
    older = MessageProxy(one.message("old").copy(options={"outbox": f"{row.pk}:0"}))
    inline_worker.run(older)
    inline_worker.deliver(row)
    assert effects() == ["new"]


@pytest.mark.usefixtures("short_locks")
def test_an_actor_waits_for_its_own_locks_as_long_as_it_likes(inline_worker: InlineWorker, actor: Declare) -> None:
    hot = Group.objects.create(name="hot")
    actor(lambda: Group.objects.update(name="hotter") and None, max_retries=0).send()
    with locked_for(0.5, hot):
        inline_worker.deliver(only_row())
    assert effects() == ["hotter"]


@pytest.mark.usefixtures("short_locks")
def test_a_first_delivery_outwaits_a_relay_whose_mark_takes_long(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(add_effect).send("one")
    row = only_row()
    with locked_for(0.5, row):
        inline_worker.deliver(row)
    assert effects() == ["one"]


@pytest.mark.usefixtures("short_locks")
@pytest.mark.parametrize("options", [{"returns_rows": True}, {"outside_effects": True}])
def test_a_lock_on_its_row_is_no_failure_of_the_message(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    locks = []

    def work() -> None:
        locks.append(locked_for(0.5, only_row()))
        locks[0].__enter__()

    actor(work, max_retries=0, **options).send()
    inline_worker.deliver(only_row())
    assert not OutboxMessage.objects.exists()
    locks[0].__exit__(None, None, None)


def test_a_relay_waits_for_no_row_that_a_worker_has_locked(actor: Declare, database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no row locks")
    actor(add_effect).send()
    token = uuid4()
    rows = store.claim(token, 10).rows
    done = threading.Event()

    def give_back() -> None:
        store.mark_published(token, [rows[0].pk])
        relay.extend_lease(token, rows)
        relay.postpone(token, rows)
        done.set()

    with transaction.atomic():
        OutboxMessage.objects.select_for_update().get()
        in_another_thread(give_back)
        assert done.wait(30)


def test_an_error_without_a_text_is_written(inline_worker: InlineWorker, actor: Declare) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise KeyError("no text")

    def fail() -> None:
        raise Mute

    actor(fail, max_retries=0).send()
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().reason) == (State.DEAD, "failure not handled")
    assert only_row().error.startswith("Mute: ")


def test_an_actor_may_send_itself_again_under_its_key(inline_worker: InlineWorker, actor: Declare) -> None:
    def work(count: int) -> None:
        if count:
            one.send_with_options(args=(count - 1,), dedupe_key="tick")

    one = actor(work)
    one.send_with_options(args=(1,), dedupe_key="tick")
    inline_worker.deliver(only_row())
    assert Message.decode(bytes(only_row().body)).args == (0,)


def test_a_leased_message_is_not_cancelled_though_its_copy_was_put_off(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    seen: list[Any] = []

    def work() -> None:
        inline_worker.deliver(only_row(), redelivered=True)
        seen.extend([only_row().state, cancel(OutboxMessage.objects.all(), by=Operator(name="op"), why="x")])

    actor(work, outside_effects=True).send()
    inline_worker.deliver(only_row())
    assert seen == [State.SCHEDULED, 0]


def test_two_copies_that_fail_for_good_call_back_once(inline_worker: InlineWorker, actor: Declare) -> None:
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            inline_worker.deliver(OutboxMessage.objects.get(actor="one"))
        raise ValueError

    actor(lambda message, failure: None, actor_name="callback")
    actor(work, actor_name="one", returns_rows=True, max_retries=0, on_failure="callback").send()
    inline_worker.deliver(only_row())
    assert (len(runs), OutboxMessage.objects.filter(actor="callback").count()) == (2, 1)


def test_a_dead_letter_is_not_revived_by_a_late_failure(inline_worker: InlineWorker, actor: Declare) -> None:
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            inline_worker.deliver(only_row())
            raise ValueError("again, please")
        raise KeyError("for good")

    actor(work, returns_rows=True, throws=KeyError).send()
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().attempt) == (State.DEAD, 0)


def test_a_leased_actor_begins_anew_after_an_outage_that_outlasted_its_lease(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def another_takes_it(_seconds: float) -> bool:
        OutboxMessage.objects.update(held_until=Now() + timedelta(minutes=1), held_by=uuid4())
        return False

    def work() -> None:
        runs.append(1)
        raise_database_away()

    monkeypatch.setattr(inline_worker.state.stopping, "wait", another_takes_it)
    actor(work, outside_effects=True).send()
    inline_worker.deliver(only_row())
    assert (runs, only_row().state, only_row().attempt) == ([1], State.SCHEDULED, 0)


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_an_actor_that_skips_has_nothing_to_do_which_is_then_done(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    def skip() -> None:
        raise SkipMessage("nothing to do")

    actor(skip, **options).send()
    inline_worker.deliver(only_row())
    assert not OutboxMessage.objects.exists()


def test_leases_are_renewed_whatever_went_wrong_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail(leases: object) -> None:
        calls.append(1)
        raise InternalError("cannot execute UPDATE in a read-only transaction")

    monkeypatch.setattr(execution_lease, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(execution_lease, "renew", fail)
    with LeaseRenewer().renewing(ExecutionLease(1, uuid4())):
        assert wait_until(lambda: len(calls) > 2, timeout_seconds=30)


@pytest.fixture
def read_only(database: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Make the database refuse to write, as a standby does."""
    if database != "postgresql":
        pytest.skip("SQLite has no standbys")
    server: PrivatePostgresql = request.getfixturevalue("postgresql")

    def turn(statement: LiteralString) -> None:
        # From another database: the service connects to none that refuses to write.
        server.execute(SQL(statement))
        connection.close()

    yield lambda: turn("ALTER DATABASE vazifa_test SET default_transaction_read_only = on")
    turn("ALTER DATABASE vazifa_test RESET default_transaction_read_only")


@pytest.mark.parametrize("redelivered", [False, True])
@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_nothing_is_acknowledged_on_a_standby(
    inline_worker: InlineWorker,
    actor: Declare,
    read_only: Callable[[], None],
    options: dict[str, bool],
    redelivered: bool,
) -> None:
    actor(lambda: None, **options).send()
    row = only_row()
    read_only()
    inline_worker.stop()  # so that it leaves the message for redelivery instead of waiting
    inline_worker.deliver(row, redelivered=redelivered)
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)


def test_an_actor_that_loses_the_connection_at_every_run_fails(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        raise_database_away()

    monkeypatch.setattr(inline_worker.state.stopping, "wait", lambda seconds: False)
    actor(work).send()
    inline_worker.deliver(only_row())
    assert (len(runs), only_row().state, only_row().attempt) == (MAX_CUTS, State.SCHEDULED, 1)


@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_a_closed_cursor_is_the_actor_s_failure(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        raise InterfaceError("the cursor is closed")

    actor(work, **options).send()
    inline_worker.deliver(only_row())
    assert (len(runs), only_row().state, only_row().attempt) == (1, State.SCHEDULED, 1)


@pytest.mark.usefixtures("short_locks")
@pytest.mark.parametrize("options", HOW_TO_SETTLE)
def test_a_redelivered_copy_outwaits_a_lock_of_a_worker_that_was_killed(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool]
) -> None:
    # PostgreSQL notices that a client is gone when its statement has ended: until then its locks stay.
    one = actor(lambda: Group(name="effect") if options.get("returns_rows") else add_effect(), **options)
    one.send()
    settings, row = connection.settings_dict, only_row()
    killed = psycopg.connect(host=settings["HOST"], port=settings["PORT"], user="postgres", dbname=settings["NAME"])
    killed.execute("SELECT 1 FROM outbox_outboxmessage WHERE id = %s FOR UPDATE", [row.pk])
    killed.pgconn.send_query(b"SELECT pg_sleep(1)")
    with socket.socket(fileno=os.dup(killed.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)
    inline_worker.deliver(row, redelivered=True)
    killed.close()
    assert (effects(), OutboxMessage.objects.count()) == (["effect"], 0)


@pytest.mark.usefixtures("short_locks")
def test_a_copy_that_waits_for_a_worker_that_stops_does_the_work(inline_worker: InlineWorker, actor: Declare) -> None:
    other: list[threading.Thread] = []

    def work() -> None:
        if other:
            return add_effect()
        row = only_row()
        other.append(in_another_thread(lambda: inline_worker.deliver(row, redelivered=True)))
        raise Shutdown

    actor(work, notify_shutdown=True).send()
    inline_worker.deliver(only_row())
    other[0].join()
    assert (effects(), OutboxMessage.objects.count()) == (["effect"], 0)


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("options", HOW_TO_SETTLE[1:])
@pytest.mark.parametrize("way", ["manual", "atomic"])
def test_a_transaction_that_an_actor_leaves_open_takes_no_outcome_with_it(
    inline_worker: InlineWorker, actor: Declare, options: dict[str, bool], way: str, fails: bool
) -> None:
    def work() -> None:
        if way == "manual":
            transaction.set_autocommit(False)
        else:
            transaction.atomic().__enter__()
        Group.objects.count()
        if fails:
            raise ValueError("wrong")

    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database cannot be closed")
    actor(work, max_retries=0, **options).send()
    inline_worker.deliver(only_row())
    connection.close()
    assert list(OutboxMessage.objects.values_list("state", flat=True)) == ([State.DEAD] if fails else [])


def test_an_interruption_within_a_commit_is_written_as_a_failure(
    inline_worker: InlineWorker, actor: Declare, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database != "postgresql":
        pytest.skip("an in-memory database cannot be closed")
    with monkeypatch.context() as patch:

        def interrupt() -> None:
            patch.undo()
            raise Shutdown

        actor(lambda: patch.setattr(connection, "_commit", interrupt)).send()
        inline_worker.deliver(only_row())
    connection.close()
    assert (only_row().state, only_row().attempt) == (State.SCHEDULED, 1)


def test_a_statement_that_exceeds_a_limit_of_its_own_is_a_failure(
    inline_worker: InlineWorker, actor: Declare, database: str
) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no such limits")
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL work_mem = '64kB'; SET LOCAL temp_file_limit = '100kB'")
            cursor.execute("SELECT md5(g::text) FROM generate_series(1, 100000) AS g ORDER BY 1")

    actor(work, max_retries=0).send()
    inline_worker.deliver(only_row())
    assert (runs, only_row().state) == ([1], State.DEAD)


def test_a_send_under_a_key_is_begun_only_where_its_change_can_be_seen(
    inline_worker: InlineWorker, actor: Declare, short_locks: None
) -> None:
    seen: list[list[str]] = []
    look = actor(lambda: seen.append(effects()))
    look.send_with_options(dedupe_key="look")
    row, is_sent, may_commit = only_row(), threading.Event(), threading.Event()

    def change_and_send() -> None:
        with transaction.atomic():
            add_effect("changed")
            look.send_with_options(dedupe_key="look")
            is_sent.set()
            may_commit.wait(30)

    sender = in_another_thread(change_and_send)
    assert is_sent.wait(30)
    worker = in_another_thread(lambda: inline_worker.deliver(row))
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with connection.cursor() as cursor:
        assert wait_until(lambda: bool(cursor.execute(waits) and cursor.fetchone()), timeout_seconds=30)
    may_commit.set()
    for thread in (sender, worker):
        thread.join()
    inline_worker.deliver_all()
    assert seen == [["changed"]]


def test_senders_under_one_key_do_not_wait_for_each_other(actor: Declare, short_locks: None) -> None:
    look = actor(lambda: None)
    look.send_with_options(dedupe_key="look")
    with transaction.atomic():
        look.send_with_options(dedupe_key="look")
        other = in_another_thread(lambda: look.send_with_options(dedupe_key="look"))
        other.join(30)
        assert not other.is_alive()
