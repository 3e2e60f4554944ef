"""The keys that sign tokens: one that signs, and older ones whose tokens stay valid while the keys are rotated."""

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token


def signing_key() -> str:
    """Return `TOKEN_SIGNING_KEY`; where it is empty, a key that is derived from `SECRET_KEY`."""
    derived = salted_hmac("project.accounts.tokens", "signing key", algorithm="sha256")
    return settings.TOKEN_SIGNING_KEY or derived.hexdigest()


class KeyRing(TokenBackend):
    """Signs with the signing key, and verifies with it or else with each of `TOKEN_OLD_SIGNING_KEYS`."""

    def __init__(self) -> None:
        super().__init__(api_settings.ALGORITHM)

    def encode(self, payload: dict[str, Any]) -> str:
        return _backend(signing_key()).encode(payload)

    def decode(self, token: Token, verify: bool = True) -> dict[str, Any]:
        *others, last = [signing_key(), *settings.TOKEN_OLD_SIGNING_KEYS]
        for key in others:
            try:
                return _backend(key).decode(token, verify)
            except TokenBackendExpiredToken:  # the signature is right
                raise
            except TokenBackendError:
                continue
        return _backend(last).decode(token, verify)


@lru_cache(16)
def _backend(key: str) -> TokenBackend:
    return TokenBackend(api_settings.ALGORITHM, key)
