"""The one way to sign in with a password: Django's, with limits.

Guarantee: every view that calls Django's `authenticate` passes here: `/api/token/`, the login pages of the admin and of
the browsable API, and those that may follow. No password is checked beyond the limits (`login_limits`, `hashing`). An
unknown account and a wrong password are answered alike, after the same work. Failures and refusals are logged; Django
sends `user_login_failed` for failures only.
"""

import logging
from contextlib import ExitStack
from typing import Any

from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from actors.outbox.context import log_word
from project.accounts.hashing import hashing_slots
from project.accounts.login_limits import MAX_USERNAME, Attempt, is_first_report, remove_expired
from project.accounts.refusals import LoginRefused, TooManyAttempts
from project.client_address import client_address, counted_as
from project.logs import LOGGED

logger = logging.getLogger(__name__)


class LimitedBackend(ModelBackend):
    """Django's backend, which checks no more passwords than the limits allow."""

    @sensitive_variables("password")
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the user, or None for wrong credentials.

        Args:
            request: None is counted as a client without an address.
            username: the account's name.
            password: its password.
            kwargs: may name the account by the user model's own field.

        Raises:
            LoginBusy: the process checks as many passwords as it may.
            TooManyAttempts: of this address, or at this account.
        """
        username = kwargs.get(User.USERNAME_FIELD) if username is None else username
        if username is None or password is None:
            return None
        address = client_address(request) if request is not None else ""
        attempt = Attempt(username, counted_as(address))
        who = f"account={log_word(username[:MAX_USERNAME])} address={address or None}"
        with ExitStack() as held:
            try:
                # Durable: within another transaction, a failure's rollback would undo the count.
                with transaction.atomic(durable=True):
                    attempt.count()
                    held.enter_context(hashing_slots.one())
                    remove_expired()
            except LoginRefused as refusal:
                _log_once(refusal, request, who)
                raise
            user = super().authenticate(request, username, password)
        if user is None:
            logger.warning("login failed %s", who)
        else:
            attempt.give_back()
        return user

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Do the same in a thread: Django's own would pass by the limits."""
        return await BaseBackend.aauthenticate(self, request, username=username, password=password, **kwargs)


def _log_once(refusal: LoginRefused, request: HttpRequest | None, who: str) -> None:
    """Log a refusal if it is the first one by its limit; `hashing` logs those of its own."""
    if isinstance(refusal, TooManyAttempts):
        if is_first_report(refusal.row):
            logger.warning("login refused limit=%r wait=%ds %s", refusal.limit, refusal.wait, who)
    elif request is not None:
        request.META[LOGGED] = True
