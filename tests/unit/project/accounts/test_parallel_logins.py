"""Logins in parallel: no more passwords are checked than the limits allow, and than a process may check at once."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.contrib.auth import aauthenticate
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.test import Client, RequestFactory

from project.accounts import backends, login_limits
from project.accounts.hashing import hashing_slots
from project.accounts.login_limits import LoginLimit
from project.accounts.refusals import TooManyAttempts
from project.local.servers.process import wait_until
from tests.conftest import PASSWORD
from tests.unit.project.accounts.conftest import PAIR, Clock, Door, Hashes

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 24


@pytest.fixture
def concurrent(database: str) -> None:
    """For tests with more than one connection."""
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")


def in_parallel(door: Door, *attempts: dict[str, Any]) -> Counter[int]:
    """Send attempts from a thread each; return how often each status was answered."""
    together = threading.Barrier(len(attempts))

    def send(attempt: dict[str, Any]) -> int:
        together.wait(30)
        try:
            return int(door.knock(**attempt).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(attempts)) as threads:
        return Counter(threads.map(send, attempts))


def test_of_parallel_attempts_no_more_are_checked_than_allowed(
    concurrent: None, account: User, limits: object, door: Door, hashes: Hashes
) -> None:
    assert in_parallel(door, *[{}] * CROWD) == {door.wrong: PAIR, 429: CROWD - PAIR}
    assert len(hashes.computed) == PAIR


def test_parallel_attempts_at_many_accounts_from_many_addresses_do_not_block_one_another(
    concurrent: None, account: User, settings: Any, token_door: Door
) -> None:
    settings.LOGIN_LIMITS = dict.fromkeys(settings.LOGIN_LIMITS, (1_000, 3_600))
    attempts = [
        {"username": f"user{n % 3}", "address": f"192.0.2.{n % 4}", "password": PASSWORD if n % 3 == 1 else "wrong"}
        for n in range(CROWD)
    ]
    for _ in range(4):
        assert in_parallel(token_door, *attempts) == {401: 16, 200: 8}

    # Rows of addresses and accounts: each failure counts once, each success not at all.
    assert sum(LoginLimit.objects.values_list("attempts", flat=True)) == 3 * 4 * 16


@pytest.mark.parametrize("is_given_back", [False, True])
def test_rows_are_locked_in_the_order_of_their_keys(
    concurrent: None, account: User, settings: Any, token_door: Door, hashes: Hashes, is_given_back: bool
) -> None:
    settings.LOGIN_LIMITS = dict.fromkeys(settings.LOGIN_LIMITS, (1_000, 3_600))
    # Of this client, the row whose key is the lowest is not the first one by name.
    address = next(each for each in ADDRESSES if min(ordered := keys(each)) != ordered[0])
    assert token_door.knock(address=address).status_code == 401
    lowest, *others = sorted(keys(address))

    def hold_lowest() -> None:
        holder.execute("SELECT FROM accounts_loginlimit WHERE key = %s FOR UPDATE", [lowest])

    attempt = {"address": address, "password": PASSWORD if is_given_back else "wrong"}
    with closing(another_connection()) as holder, ThreadPoolExecutor(1) as threads:
        if is_given_back:
            hashes.before = hold_lowest
        else:
            hold_lowest()
        answer = threads.submit(in_parallel, token_door, attempt)
        try:
            assert wait_until(is_someone_waiting, timeout_seconds=30)
            with transaction.atomic():
                free = LoginLimit.objects.select_for_update(nowait=True).filter(pk__in=others)
                assert len(free) == len(others)
        finally:
            holder.rollback()
        assert answer.result(30) == {200 if is_given_back else 401: 1}


def test_a_row_that_is_over_is_removed_without_waiting_for_its_lock(
    concurrent: None, account: User, limits: object, clock: Clock, token_door: Door
) -> None:
    token_door.knock(address="192.0.2.1")
    clock.now += 3_600
    with closing(another_connection()) as holder:
        held = holder.execute("SELECT key FROM accounts_loginlimit WHERE key = %s FOR UPDATE", [keys("192.0.2.1")[0]])
        assert held.rowcount == 1
        assert token_door.knock("user2", address="192.0.2.2").status_code == 401

    assert LoginLimit.objects.filter(until__lte=clock.now).count() == 1


ADDRESSES = [f"192.0.2.{number}" for number in range(50)]


def keys(address: str) -> list[int]:
    return list(login_limits.Attempt("user1", address).limits)


def another_connection() -> psycopg.Connection[Any]:
    place = connection.settings_dict
    return psycopg.connect(host=place["HOST"], port=place["PORT"], user=place["USER"], dbname=place["NAME"])


def is_someone_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        return bool(cursor.rowcount)


@pytest.fixture
def checks_wait(settings: Any, hashes: Hashes, token_door: Door) -> Any:
    """Two checks that take as long as the test wants, all that a process may make at once."""
    settings.LOGIN_HASHES = 2
    begun, may_end = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        begun.release()
        assert may_end.wait(60)

    hashes.before = wait
    with ThreadPoolExecutor(2) as threads:

        def check(number: int) -> int:
            try:
                return int(token_door.knock(address=f"203.0.113.{number}").status_code)
            finally:
                connection.close()

        waiting = [threads.submit(check, number) for number in range(2)]
        assert begun.acquire(timeout=30)
        assert begun.acquire(timeout=30)
        try:
            yield waiting
        finally:
            may_end.set()


def test_more_than_a_process_may_check_are_refused_at_once_and_not_counted(
    concurrent: None, account: User, limits: object, checks_wait: Any, door: Door, hashes: Hashes
) -> None:
    answers = [door.knock(password=PASSWORD) for _ in range(3 * PAIR)]

    assert {answer.status_code for answer in answers} == {503}
    assert {answer["Retry-After"] for answer in answers} == {"2"}
    assert answers[0].json() == {
        "detail": "Many users are signing in at this moment. Try again in a few seconds.",
        "code": "login_busy",
    }
    assert hashes.computed == []
    assert sorted(LoginLimit.objects.values_list("attempts", flat=True)) == [1] * 4 + [2]


def test_meanwhile_requests_without_a_password_are_answered(
    concurrent: None, account: User, limits: object, checks_wait: Any
) -> None:
    paths = ["/health/ready/", "/", "/admin/login/"]
    assert [Client().get(path).status_code for path in paths] == [200] * 3


def test_the_places_are_free_again_after_checks_and_errors(
    concurrent: None, account: User, settings: Any, token_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError

    settings.LOGIN_HASHES = 1
    assert token_door.knock().status_code == 401
    with monkeypatch.context() as broken:
        # After the place was taken, and before the transaction commits.
        broken.setattr(backends, "remove_expired", fail)
        assert token_door.knock().status_code == 503
    assert token_door.knock(password=PASSWORD).status_code == 200


def test_busy_refusals_are_logged_once_a_minute(
    settings: Any, account: User, token_door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOGIN_HASHES = 0
    monkeypatch.setattr(hashing_slots, "_log_after", 0.0)
    assert {token_door.knock().status_code for _ in range(5)} == {503}
    assert [record.name for record in caplog.records] == ["project.accounts.hashing"]


def test_djangos_asynchronous_way_in_has_the_same_limits(concurrent: None, account: User, limits: object) -> None:
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.1")

    async def attempts() -> None:
        for _ in range(PAIR):
            assert await aauthenticate(request, username="user1", password="wrong") is None
        with pytest.raises(TooManyAttempts):
            await aauthenticate(request, username="user1", password="wrong")

    asyncio.run(attempts())
