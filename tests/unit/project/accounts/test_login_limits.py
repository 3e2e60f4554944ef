"""Login doors: one limit for all, by account and address, by address, and a soft one by account."""

import logging
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.test import RequestFactory

from project.accounts import login_limits
from project.accounts.login_limits import KNOWN_DAYS, TURN_SECONDS, TURNS, LoginLimit
from project.accounts.refusals import TooManyAttempts
from tests.conftest import PASSWORD
from tests.unit.project.accounts.conftest import ACCOUNT, ADDRESS, HOUR, PAIR, Clock, Door, Hashes

pytestmark = pytest.mark.django_db(transaction=True)

MINE, FOREIGN = "192.0.2.1", "198.51.100.9"


@pytest.fixture(autouse=True)
def _limited(account: User, limits: object) -> None:
    """All tests have an account and limits."""


def attack(door: Door, *, failures: int = ACCOUNT, username: str = "user1") -> None:
    """Send wrong passwords for one account, each from another address."""
    for number in range(failures):
        assert door.knock(username, address=f"203.0.113.{number}").status_code == door.wrong


def test_an_address_may_send_so_many_wrong_passwords_for_an_account(door: Door, hashes: Hashes) -> None:
    statuses = [door.knock().status_code for _ in range(PAIR + 2)]

    assert statuses == [door.wrong] * PAIR + [429] * 2
    assert len(hashes.computed) == PAIR
    assert door.knock(password=PASSWORD).status_code == 429


def test_the_doors_have_one_limit_together(door: Door, token_door: Door) -> None:
    for _ in range(PAIR):
        door.knock()

    assert token_door.knock().status_code == 429
    assert token_door.knock(address=FOREIGN).status_code == 401


def test_after_the_hour_the_address_may_try_again(token_door: Door, clock: Clock) -> None:
    first = [token_door.knock().status_code for _ in range(PAIR)]
    clock.now += HOUR - 1
    assert (token_door.knock().status_code, token_door.knock()["Retry-After"]) == (429, "1")
    clock.now += 1

    assert [token_door.knock().status_code for _ in range(PAIR + 1)] == [*first, 429]


def test_an_address_may_send_so_many_for_all_accounts_together(door: Door) -> None:
    statuses = [door.knock(f"user{number}").status_code for number in range(ADDRESS + 2)]

    assert statuses == [door.wrong] * ADDRESS + [429] * 2
    assert door.knock("another", address=FOREIGN).status_code == door.wrong


@pytest.mark.parametrize(
    "addresses",
    [[f"2001:db8:0:1::{n}" for n in range(9)], ["::ffff:192.0.2.7", "192.0.2.7"] * 4],
    ids=["a network of IPv6", "IPv4 as IPv6"],
)
def test_addresses_of_one_client_share_a_limit(token_door: Door, addresses: list[str]) -> None:
    statuses = [token_door.knock(address=address).status_code for address in addresses]
    assert statuses == [401] * PAIR + [429] * (len(addresses) - PAIR)


def test_another_network_of_ipv6_has_another(token_door: Door) -> None:
    for number in range(PAIR + 1):
        token_door.knock(address=f"2001:db8:0:1::{number}")
    assert token_door.knock(address="2001:db8:0:2::1").status_code == 401


def test_a_port_that_a_proxy_reports_buys_no_attempt(token_door: Door, settings: Any) -> None:
    settings.NUM_PROXIES = 1
    ports = [f"192.0.2.7:{port}" for port in range(5_000, 5_005)]
    statuses = [token_door.knock(HTTP_X_FORWARDED_FOR=f"forged, {port}").status_code for port in ports]
    assert statuses == [401] * PAIR + [429] * 2


@pytest.mark.parametrize("name", ["USER1", " user1 ", "ｕｓｅｒ１", "user¹"])
def test_another_spelling_of_the_account_buys_no_attempt(token_door: Door, name: str) -> None:
    for _ in range(PAIR):
        token_door.knock()
    assert token_door.knock(name).status_code == 429


def test_a_name_of_any_length_is_a_small_row(token_door: Door) -> None:
    for length in (100_000, 200_000):
        assert token_door.knock("a" * length).status_code == 401

    assert sorted(LoginLimit.objects.values_list("attempts", flat=True)) == [2, 2, 2]


def test_success_gives_the_attempt_back(door: Door) -> None:
    for _ in range(ADDRESS + 2):
        assert door.knock(password=PASSWORD).status_code == door.right
    assert set(LoginLimit.objects.values_list("attempts", flat=True)) == {0}


def test_success_forgives_no_failure(token_door: Door) -> None:
    for _ in range(PAIR - 1):
        assert token_door.knock().status_code == 401
        assert token_door.knock(password=PASSWORD).status_code == 200
    assert [token_door.knock().status_code for _ in range(2)] == [401, 429]


def test_an_attempt_that_is_given_back_late_takes_nothing_of_the_next_hour(
    token_door: Door, clock: Clock, hashes: Hashes
) -> None:
    def hour_passes() -> None:
        hashes.before = lambda: None
        clock.now += HOUR
        token_door.knock()

    hashes.before = hour_passes
    assert token_door.knock(password=PASSWORD).status_code == 200
    assert [token_door.knock().status_code for _ in range(PAIR)] == [401] * (PAIR - 1) + [429]


def test_a_refused_attempt_is_not_counted(token_door: Door) -> None:
    for _ in range(5 * ACCOUNT):
        token_door.knock()
    assert sorted(LoginLimit.objects.values_list("attempts", flat=True)) == [PAIR] * 3


def test_an_account_under_attack_slows_strangers_down(door: Door, hashes: Hashes) -> None:
    attack(door)
    strangers = [f"198.51.100.{number}" for number in range(3 * TURNS)]
    answers = [door.knock(address=stranger) for stranger in strangers]

    slowed = [answer for answer in answers if answer.status_code == 429]
    assert len(strangers) / 2 < len(slowed) < len(strangers)
    assert len(hashes.computed) == ACCOUNT + len(strangers) - len(slowed)
    assert {int(answer["Retry-After"]) % TURN_SECONDS for answer in slowed} == {-Clock.now % TURN_SECONDS}


def test_its_owner_signs_in_from_where_they_did_before(door: Door, clock: Clock) -> None:
    owners = [f"192.0.2.{number}" for number in range(2 * TURNS)]
    for owner in owners:
        assert door.knock(password=PASSWORD, address=owner).status_code == door.right
    clock.now += KNOWN_DAYS * 86_400 - 1
    attack(door)

    assert {door.knock(password=PASSWORD, address=owner).status_code for owner in owners} == {door.right}


def test_after_a_month_an_address_is_forgotten_though_its_row_is_not_removed_yet(
    token_door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "MAX_REMOVED", 0)
    owners = [f"192.0.2.{number}" for number in range(2 * TURNS)]
    for owner in owners:
        token_door.knock(password=PASSWORD, address=owner)
    clock.now += KNOWN_DAYS * 86_400
    attack(token_door)

    assert 429 in {token_door.knock(password=PASSWORD, address=owner).status_code for owner in owners}


@pytest.mark.parametrize("number", range(3))
def test_its_owner_signs_in_from_anywhere_after_a_bounded_time_while_it_is_attacked(
    token_door: Door, clock: Clock, number: int
) -> None:
    attack(token_door)
    answer = token_door.knock(password=PASSWORD, address=f"192.0.2.{number}")
    if answer.status_code == 429:
        wait = int(answer["Retry-After"])
        assert 0 < wait <= (TURNS - 1) * TURN_SECONDS
        for _ in range(wait):
            clock.now += 1
            if clock.now % 5:
                continue
            token_door.knock(address=f"203.0.113.{clock.now % 100 + 100}")
        answer = token_door.knock(password=PASSWORD, address=f"192.0.2.{number}")

    assert answer.status_code == 200


def test_a_stranger_waits_as_long_for_an_account_that_does_not_exist(token_door: Door) -> None:
    for username in ("user1", "nobody"):
        attack(token_door, username=username)
    addresses = [f"198.51.100.{number}" for number in range(2 * TURNS)]
    slowed = {
        username: sum(token_door.knock(username, address=each).status_code == 429 for each in addresses)
        for username in ("user1", "nobody")
    }
    assert min(slowed.values()) > len(addresses) / 2


def test_an_account_that_does_not_exist_is_as_one_that_does(door: Door, hashes: Hashes) -> None:
    User.objects.create_user("unusable")
    User.objects.create_user("inactive", password=PASSWORD, is_active=False)
    seen = {}
    for number, username in enumerate(["user1", "nobody", "unusable", "inactive"]):
        hashes.computed.clear()
        answers = [door.knock(username, address=f"192.0.2.{number}") for _ in range(PAIR + 1)]
        shown = [_shown(answer, username) for answer in answers]
        seen[username] = shown, len(hashes.computed), [answer.get("Retry-After") for answer in answers]

    assert seen["user1"][1] == PAIR
    assert all(other == seen["user1"] for other in seen.values())


def _shown(answer: Any, username: str) -> tuple[int, str]:
    """Return status and text, without what differs from page to page."""
    lines = answer.content.decode().replace(username, "").splitlines()
    return answer.status_code, "\n".join(line for line in lines if "csrf" not in line)


def test_programs_get_json_with_a_code(door: Door) -> None:
    for _ in range(PAIR):
        door.knock()
    answer = door.knock()

    assert answer.json() == {
        "detail": f"Too many attempts to sign in. Try again in {HOUR} seconds.",
        "code": "too_many_attempts",
    }
    assert answer["Retry-After"] == str(HOUR)


def test_browsers_get_a_page(door: Door) -> None:
    for _ in range(PAIR):
        door.knock()
    answer = door.knock(HTTP_ACCEPT="text/html,*/*;q=0.8")

    assert (answer.status_code, answer["Retry-After"]) == (429, str(HOUR))
    assert answer["Content-Type"].startswith("text/html")
    page = answer.content.decode()
    assert f"Too many attempts to sign in. Try again in {HOUR} seconds." in page
    assert f'href="{door.path}"' in page
    assert "style=" not in page
    assert "<script>" not in page


def test_failures_and_the_first_refusal_are_each_a_line(token_door: Door, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(PAIR + 5):
        token_door.knock("user1\nforged \u202e")
    lines = [(record.levelno, record.getMessage()) for record in caplog.records if "login" in record.getMessage()]

    who = r"account='user1\nforged \u202e' address=192.0.2.1"
    assert lines[:-1] == [(logging.WARNING, f"login failed {who}")] * PAIR
    assert lines[-1] == (logging.WARNING, f"login refused limit='account and address' wait={HOUR}s {who}")


def test_the_next_window_has_a_line_of_its_own(
    token_door: Door, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        for _ in range(PAIR + 2):
            token_door.knock()
        clock.now += HOUR
    assert [record.getMessage()[:13] for record in caplog.records].count("login refused") == 2


def test_django_signals_failures_and_not_refusals(door: Door) -> None:
    heard: list[Any] = []

    def hear(credentials: dict[str, Any], request: Any, **_signal: Any) -> None:
        heard.append((credentials["username"], request.META["REMOTE_ADDR"]))

    user_login_failed.connect(hear)
    try:
        for _ in range(PAIR + 2):
            door.knock()
    finally:
        user_login_failed.disconnect(hear)

    assert heard == [("user1", MINE)] * PAIR


def test_rows_that_are_over_are_removed(token_door: Door, clock: Clock) -> None:
    attack(token_door)
    assert LoginLimit.objects.count() == 1 + 2 * ACCOUNT
    clock.now += HOUR
    for _ in range(PAIR):
        token_door.knock("another")

    assert LoginLimit.objects.filter(until__lte=clock.now).count() == 0
    assert LoginLimit.objects.count() == 3


def test_a_count_is_never_part_of_a_transaction_that_may_roll_back(account: User) -> None:
    request = RequestFactory().post("/", REMOTE_ADDR=MINE)
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        authenticate(request, username="user1", password="wrong")


@pytest.mark.parametrize("username", [None, "user1"])
def test_without_a_password_nothing_is_counted(username: str | None) -> None:
    assert authenticate(None, username=username, password=None) is None
    assert LoginLimit.objects.count() == 0


def test_a_caller_without_a_request_is_counted_too() -> None:
    def wrong() -> object:
        return authenticate(None, username="user1", password="wrong")

    assert [wrong() for _ in range(PAIR)] == [None] * PAIR
    with pytest.raises(TooManyAttempts):
        wrong()


def test_a_limit_that_is_off_counts_nothing(token_door: Door, settings: Any) -> None:
    settings.LOGIN_LIMITS = dict.fromkeys(settings.LOGIN_LIMITS)
    assert {token_door.knock().status_code for _ in range(2 * ACCOUNT)} == {401}
    assert token_door.knock(password=PASSWORD).status_code == 200
    assert LoginLimit.objects.count() == 0


def test_the_table_names_neither_accounts_nor_addresses(settings: Any) -> None:
    keys = [login_limits._key("account", "user1")]
    settings.SECRET_KEY = "another-key"
    keys.append(login_limits._key("account", "user1"))

    assert len(set(keys)) == 2
