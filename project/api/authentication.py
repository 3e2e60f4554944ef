"""Tokens: authenticates a request by its token, whose signature is verified once and whose user is read each time.

Guarantee: a token is accepted for no longer than it is valid, and what `project.accounts.tokens.lookup` says.
"""

import time
from functools import lru_cache
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.tokens import Token

from project.accounts.tokens.kinds import FamilyToken

# Tokens in a process. With more in use, most requests have their signature verified again.
MAX_REMEMBERED = 2_000


class TokenAuthentication(JWTAuthentication):
    """simplejwt's authentication, except that a signature is verified once, and how a user is read."""

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
            AuthenticationFailed: the user is gone or inactive, has another password, or has logged out.
        """
        assert isinstance(validated_token, FamilyToken), "AUTH_TOKEN_CLASSES has others"
        return validated_token.find().user


@lru_cache(MAX_REMEMBERED)
def _verified(raw: bytes) -> Token:
    return JWTAuthentication().get_validated_token(raw)


def gone(request: Request) -> AuthenticationFailed | None:
    """Return the error to answer with if the request's user was deleted since they were read, else None."""
    user = request.user
    if not user.is_authenticated or get_user_model().objects.filter(pk=user.pk).exists():
        return None
    return AuthenticationFailed(_("User not found"), code="user_not_found")
