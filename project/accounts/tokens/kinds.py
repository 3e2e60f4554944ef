"""The kinds of tokens: simplejwt's, signed with this service's keys, each naming the family that it belongs to.

Guarantee: whatever a token claims, reading it returns claims of the expected types or raises a TokenError, which is
answered with 401. A token without a family, such as those of releases before families, is refused.
"""

import re
import time
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.exceptions import AuthenticationFailed, TokenError
from rest_framework_simplejwt.settings import api_settings

from project.accounts.tokens.keys import KeyRing
from project.accounts.tokens.lookup import Found, find

FAMILY = "family"
USER = api_settings.USER_ID_CLAIM
TYPE = api_settings.TOKEN_TYPE_CLAIM
ID = api_settings.JTI_CLAIM
WELL_FORMED_ID = re.compile(r"[0-9a-f]{32}")
MAX_TIME = 253_402_300_799  # seconds; the end of the year 9999, which is the last that Python knows


class FamilyToken(tokens.Token):
    """A token of a family."""

    user_pk: Any = None
    """The primary key of the user, of the type that their model has."""

    def get_token_backend(self) -> KeyRing:
        return KeyRing()

    def verify(self) -> None:
        """Check the claims; the signature has been checked.

        Raises:
            TokenError: one is missing, or not what this service has issued.
        """
        expires = self.payload.get("exp")
        is_time = type(expires) is int and 0 < expires <= MAX_TIME
        ids = (self.payload.get(FAMILY), self.payload.get(ID))
        if not is_time or not all(isinstance(each, str) and WELL_FORMED_ID.fullmatch(each) for each in ids):
            raise TokenError(_("Token is invalid"))
        self.user_pk = _primary_key(self.payload.get(USER))
        super().verify()

    @property
    def family(self) -> str:
        return str(self.payload[FAMILY])

    def find(self) -> Found:
        """Return what the token stands for.

        Raises:
            AuthenticationFailed: as `lookup.find` does.
        """
        return find(self.family, self.user_pk)

    def is_still_valid(self) -> bool:
        """Return whether the token, which was valid, still is."""
        try:
            return self.payload["exp"] > time.time() and self.find() is not None
        except AuthenticationFailed:
            return False


def _primary_key(claim: object) -> Any:
    try:
        if isinstance(claim, str):
            return get_user_model()._meta.pk.clean(claim, None)
    except ValidationError:
        pass
    raise TokenError(_("Token is invalid"))


class AccessToken(FamilyToken, tokens.AccessToken):
    """Opens the API for some minutes."""


class RefreshToken(FamilyToken, tokens.RefreshToken):  # type: ignore[misc]  # simplejwt's own bases differ
    """Is exchanged for new tokens of its family, once."""

    access_token_class = AccessToken


class AnyToken(FamilyToken, tokens.UntypedToken):
    """An access or a refresh token."""

    def verify_token_type(self) -> None:
        if self.payload.get(TYPE) not in (AccessToken.token_type, RefreshToken.token_type):
            raise TokenError(_("Token has wrong type"))
