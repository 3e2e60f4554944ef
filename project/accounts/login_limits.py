"""How often an address may try to sign in, and how often an account may be tried: counted in the database.

Guarantee: all processes together let no more attempts pass than `LOGIN_LIMITS`, without a shared cache. An attempt is
counted before its password is checked; one that is refused is not counted, and one that succeeds is given back.
Accounts that exist and others are counted alike. While others attack an account, its owner signs in at once from an
address from which they did so in the last `KNOWN_DAYS`, and from another within `TURNS * TURN_SECONDS`, however many
addresses attack; unless the wrong passwords come from the owner's own address. An attempt leaves four rows at most, and
later ones remove those that are over.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize

from django.conf import settings
from django.db import connection, models, transaction
from django.utils.crypto import salted_hmac

from project.accounts.refusals import TooManyAttempts

# Longer names belong to no account.
MAX_USERNAME = 150
KNOWN_DAYS = 30
# An account with too many failures is open to an unknown address in one of so many turns, which depends on the address.
TURNS = 8
TURN_SECONDS = 15
# Rows that an attempt removes: more than it may leave.
MAX_REMOVED = 10

COUNT = """
INSERT INTO accounts_loginlimit AS held ("key", attempts, until, is_reported) VALUES {rows}
ON CONFLICT ("key") DO UPDATE SET
    attempts = CASE WHEN held.until > %s THEN held.attempts + 1 ELSE 1 END,
    is_reported = held.is_reported AND held.until > %s,
    until = CASE WHEN held.until > %s THEN held.until ELSE excluded.until END
RETURNING "key", attempts, until, is_reported
"""


class LoginLimit(models.Model):
    """What is counted under a key until a time; or, without attempts, that an address is known to an account."""

    # A keyed digest: whoever reads the table learns neither accounts nor addresses, and no name is too long for it.
    key = models.BigIntegerField(primary_key=True)
    attempts = models.IntegerField()
    until = models.BigIntegerField(db_index=True)  # seconds since 1970
    is_reported = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.attempts} until {self.until}"


@dataclass(frozen=True, order=True)
class Count:
    """A row of an attempt, as it is with this attempt."""

    key: int
    attempts: int
    until: int
    is_reported: bool


class Attempt:
    """An attempt to sign in to an account from an address."""

    def __init__(self, username: str, network: str) -> None:
        """Nothing is counted yet.

        Args:
            username: as the client sent it, of an account that need not exist.
            network: what the client's address is counted as (`project.client_address`).
        """
        account = normalize("NFKC", username[:MAX_USERNAME]).casefold().strip()
        self._pair = _key("account and address", account, network)
        self._known = _key("known", account, network)
        keys = {
            "account and address": self._pair,
            "address": _key("address", network),
            "account": _key("account", account),
        }
        self.limits = {keys[name]: (name, *limit) for name, limit in settings.LOGIN_LIMITS.items() if limit}
        self._counted: list[Count] = []

    def count(self) -> None:
        """Count it, in the caller's transaction, which an error has to undo.

        Raises:
            TooManyAttempts: it is one too many.
        """
        at = now()
        self._counted = _count({key: at + seconds for key, (_, _, seconds) in self.limits.items()}, at)
        exceeded = [each for each in self._counted if each.attempts > self.limits[each.key][1]]
        waits = [(self._wait(each, at), each) for each in exceeded]
        wait, worst = max(waits, key=lambda each: each[0], default=(0, None))
        if worst is not None and wait > 0:
            raise TooManyAttempts(wait, limit=self.limits[worst.key][0], row=worst)

    def give_back(self) -> None:
        """Undo the count of an attempt that has succeeded, and let the account know its address."""
        with transaction.atomic(durable=True):
            for each in self._counted:  # in the order in which all transactions lock rows
                same = LoginLimit.objects.filter(pk=each.key, until=each.until)
                same.update(attempts=models.F("attempts") - 1)
            if settings.LOGIN_LIMITS["account"]:
                known = {"attempts": 0, "until": now() + KNOWN_DAYS * 86_400}
                LoginLimit.objects.bulk_create(
                    [LoginLimit(pk=self._known, **known)],
                    update_conflicts=True,
                    unique_fields=["key"],
                    update_fields=list(known),
                )

    def _wait(self, exceeded: Count, at: int) -> int:
        if self.limits[exceeded.key][0] != "account":
            return exceeded.until - at
        if LoginLimit.objects.filter(pk=self._known, until__gt=at).exists():
            return 0
        turn, seconds_into_it = divmod(at, TURN_SECONDS)
        turns_left = (self._pair - turn) % TURNS
        return turns_left * TURN_SECONDS - seconds_into_it


def is_first_report(row: Count) -> bool:
    """Return whether a refusal because of this row is the first one, of all processes, until the row's end."""
    unreported = LoginLimit.objects.filter(pk=row.key, until=row.until, is_reported=False)
    return not row.is_reported and unreported.update(is_reported=True) > 0


def remove_expired() -> None:
    """Remove some rows that are over, in the caller's transaction; waits for no lock."""
    expired = LoginLimit.objects.filter(until__lte=now()).order_by("until").select_for_update(skip_locked=True)
    LoginLimit.objects.filter(pk__in=expired.values("pk")[:MAX_REMOVED]).delete()


def now() -> int:
    """Return the time, in seconds since 1970."""
    return int(time.time())


def _key(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    digest = salted_hmac("project.accounts.login_limits", text, algorithm="sha256").digest()
    return int.from_bytes(digest[:8], signed=True)


def _count(ends: dict[int, int], at: int) -> list[Count]:
    """Raise the counts by one, and return them, in the order of their keys.

    Args:
        ends: the keys, and when the count of each ends if it begins now.
        at: the time.
    """
    if not ends:
        return []
    statement = COUNT.format(rows=", ".join(["(%s, 1, %s, FALSE)"] * len(ends)))
    # Sorted: transactions that lock rows in the same order do not wait for one another in a circle.
    values = [value for pair in sorted(ends.items()) for value in pair]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, at, at, at])
        rows: Iterable[tuple[int, int, int, int]] = cursor.fetchall()
    return sorted(Count(key, attempts, until, bool(reported)) for key, attempts, until, reported in rows)
