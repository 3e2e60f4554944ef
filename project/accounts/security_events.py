"""What happened to the accounts: sign-ins and their failures, sign-outs, changes of passwords and of rights.

Guarantee: an event is written once and never changed; only `prune` deletes events, those of a time that is over. No
event has a password or a token, and no text of a client is stored without a bound. Of failed sign-ins, which strangers
cause, at most `MAX_FAILURES_OF_ADDRESS` of an address and `MAX_FAILURES` in all are recorded in an hour (some more if
they come at the same moment); the last of them says so, and the log has each.
"""

from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.db import connection, models
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from actors.django_internals import RefusingQuerySet
from actors.outbox.context import current_context, current_request_id
from actors.outbox.models import clean
from project.client_address import client_address

MAX_NAME = 200
MAX_ADDRESS = 45
"""An IPv6 address with an IPv4 one in it."""
MAX_DETAIL = 500
MAX_FAILURES_OF_ADDRESS = 60
MAX_FAILURES = 1_000
PERIOD = timedelta(hours=1)
FURTHER = "further failures of this hour are in the log only"
DELETE_SOME = """
DELETE FROM accounts_securityevent
WHERE id IN (SELECT id FROM accounts_securityevent WHERE at < %s ORDER BY at LIMIT %s)
"""


class Kind(models.TextChoices):
    """What happened."""

    LOGIN = "login", _("signed in")
    LOGIN_FAILED = "login_failed", _("failed to sign in")
    LOGOUT = "logout", _("signed out")
    REUSE = "token_reuse", _("refresh token used twice")
    PASSWORD = "password", _("password changed")
    RIGHTS = "rights", _("rights changed")


class SecurityEventQuerySet(RefusingQuerySet["SecurityEvent"]):
    """Refuses what would change the record."""

    def update(self, **fields: Any) -> NoReturn:
        raise TypeError("Security events are not changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Security events are deleted by `prune` alone.")


class SecurityEvent(models.Model):
    """One event. It refers to users by name and id, not by a foreign key: it outlives them."""

    at = models.DateTimeField(_("time"), db_default=Now())
    kind = models.CharField(_("event"), max_length=20, choices=Kind.choices)
    account = models.CharField(_("account"), max_length=MAX_NAME, blank=True, default="")
    """The account's name; of a failed sign-in, as it was typed."""
    user_id = models.BigIntegerField(_("account (id)"), null=True)
    by = models.CharField(_("changed by"), max_length=MAX_NAME, blank=True, default="")
    """Who changed the account; empty for a command."""
    by_id = models.BigIntegerField(_("changed by (id)"), null=True)
    address = models.CharField(_("address"), max_length=MAX_ADDRESS, blank=True, default="")
    request_id = models.CharField(_("request id"), max_length=100, blank=True, default="")
    detail = models.CharField(_("detail"), max_length=MAX_DETAIL, blank=True, default="")

    objects = SecurityEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("security event")
        verbose_name_plural = _("security events")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=("at",), name="security_event_by_time"),
            models.Index(fields=("kind", "address", "at"), name="security_event_of_address"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.account}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError("Security events are not changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Security events are deleted by `prune` alone.")


def record(
    kind: Kind,
    *,
    request: HttpRequest | Request | None = None,
    user: Any = None,
    account: str = "",
    detail: str = "",
) -> None:
    """Write an event, in the transaction of the caller if there is one.

    Args:
        kind: what happened.
        request: the one in which it happened, for its address.
        user: whose account it is about, if there is such a user.
        account: the account's name, where there is no user, or as it was typed.
        detail: more about it; never a password or a token.
    """
    address = client_address(request) if request is not None else ""
    if kind == Kind.LOGIN_FAILED:
        left = _failures_left(address)
        if left <= 0:
            return
        detail = FURTHER if left == 1 else detail
    context = current_context()
    SecurityEvent.objects.create(
        kind=kind,
        account=clean(account or (user.get_username() if user else ""))[:MAX_NAME],
        user_id=user.pk if user else None,
        by=clean(context.changed_by)[:MAX_NAME],
        by_id=context.changed_by_id,
        address=address,
        request_id=current_request_id(),
        detail=clean(detail)[:MAX_DETAIL],
    )


def prune(before: datetime, *, batch: int = 1_000) -> int:
    """Delete up to `batch` of the events before a time, the oldest first; return how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(DELETE_SOME, [connection.ops.adapt_datetimefield_value(before), batch])
        deleted: int = cursor.rowcount
        return deleted


def _failures_left(address: str) -> int:
    """Return how many failures may still be recorded, of an address and in all."""
    failures = SecurityEvent.objects.filter(kind=Kind.LOGIN_FAILED, at__gt=timezone.now() - PERIOD)
    of_address = failures.filter(address=address)[:MAX_FAILURES_OF_ADDRESS].count()
    return min(MAX_FAILURES_OF_ADDRESS - of_address, MAX_FAILURES - failures[:MAX_FAILURES].count())
