"""The table of token families: a row for each sign-in, which all tokens that came of it name."""

from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import models


class EndReason(models.TextChoices):
    LOGOUT = "logout"
    LOGOUT_EVERYWHERE = "logout-everywhere"
    REUSE = "reuse", "a refresh token was used twice"


class TokenFamily(models.Model):
    """A sign-in with a password, and what became of it."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    # Without a constraint: the previous release deletes users, and knows nothing of these rows. They then expire.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="token_families", db_constraint=False
    )
    created_at = models.DateTimeField()
    refreshed_at = models.DateTimeField(null=True)
    # Of the refresh token that is valid now; after it nothing of the family is valid, and the row may go.
    expires_at = models.DateTimeField(db_index=True)
    refresh_id = models.CharField(max_length=32)
    # Of the password that the user had when they signed in: with another one, all tokens of the family are refused.
    password_digest = models.CharField(max_length=64)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=20, blank=True, choices=EndReason.choices)

    def __str__(self) -> str:
        return f"{self.pk} of user {self.user_id}"


def digest_of_password(user: Any) -> str:
    """Return a digest of the hash that is stored for a user's password; each change of the password changes it."""
    return _digest(user.password)


def keep_families(user: Any, former_hash: str) -> None:
    """Keep a user's families valid whose password has been hashed anew, and is the same."""
    families = TokenFamily.objects.filter(user=user, password_digest=_digest(former_hash))
    families.update(password_digest=digest_of_password(user))


def _digest(password_hash: str) -> str:
    return sha256(password_hash.encode()).hexdigest()
