"""Tokens: authenticates a request by its token, whose user is read from the database only every few seconds.

Guarantee: a token is accepted for no longer than it is valid, and a user who was deactivated, deleted or renamed is
seen as such within `USER_CACHE_SECONDS`; in the process that saved or deleted them, from the commit on.
"""

import math
import time
from collections.abc import Callable
from copy import copy
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt import exceptions as simplejwt_exceptions
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

# Tokens and users, each, in a process. With more tokens in use, most requests have their signature verified again.
MAX_REMEMBERED = 2_000


class KnownUsers:
    """The users that this process has read in the last `USER_CACHE_SECONDS`, by id. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Any, tuple[Any, float]] = {}

    def find(self, user_id: Any, read: Callable[[], Any]) -> Any:
        """Return a user, from memory or by `read`; each caller gets a separate copy."""
        # `forget` replaces the dictionary: a thread that has read a user before the change stores it in the old one.
        known = self._known
        user, until = known.get(user_id, (None, -math.inf))
        if until <= self._clock():
            user = read()
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            known[user_id] = user, self._clock() + settings.USER_CACHE_SECONDS
        return copy(user)

    def forget(self) -> None:
        """Forget all users: each is read again when next asked for."""
        self._known = {}

    def on_change(self, using: str, **_signal: Any) -> None:
        """Forget all users because one has changed; and again on commit, when the change is visible."""
        self.forget()
        transaction.on_commit(self.forget, using=using, robust=True)


known_users = KnownUsers()
for changed in (post_save, post_delete):
    changed.connect(known_users.on_change, sender=get_user_model(), dispatch_uid="project.api.authentication")


class TokenAuthentication(JWTAuthentication):
    """simplejwt's authentication, except that a signature is verified once and a user is read every few seconds."""

    def get_validated_token(self, raw_token: bytes) -> Token:
        """Return the token.

        Raises:
            InvalidToken: its signature is wrong, or its time is over.
        """
        token = _verified(raw_token)
        return token if token["exp"] > time.time() else super().get_validated_token(raw_token)

    def get_user(self, validated_token: Token) -> Any:
        """Return the token's user.

        Raises:
            AuthenticationFailed, InvalidToken: the token names no user, or one who is inactive or gone.
        """
        user_id = validated_token.get(api_settings.USER_ID_CLAIM)
        return known_users.find(user_id, lambda: super(TokenAuthentication, self).get_user(validated_token))


@lru_cache(MAX_REMEMBERED)
def _verified(raw: bytes) -> Token:
    return JWTAuthentication().get_validated_token(raw)


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """Refuses the token of a deleted user as it does that of an inactive one."""

    refresh = serializers.CharField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist:  # simplejwt alone would let it become a 500
            refusal = str(self.error_messages["no_active_account"])
            raise simplejwt_exceptions.AuthenticationFailed(refusal, "no_active_account") from None


def gone(request: Request) -> AuthenticationFailed | None:
    """Return the error to answer with if the request's user was deleted since they were last read, else None."""
    user = request.user
    if not user.is_authenticated or get_user_model().objects.filter(pk=user.pk).exists():
        return None
    known_users.forget()
    return AuthenticationFailed(_("User not found"), code="user_not_found")
