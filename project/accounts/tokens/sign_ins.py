"""The life of a sign-in: it starts with a password, is kept alive by refreshing, and ends.

Guarantee: of all requests that use the same refresh token, in any number of processes, one gets new tokens. Each other
one ends the family, with the tokens that the first one got: the service cannot know which of the two clients is a
thief (RFC 9700, 4.14.2). A client whose answer was lost therefore has to sign in again.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework_simplejwt.exceptions import InvalidToken

from project.accounts.security_events import Kind, record
from project.accounts.tokens.families import EndReason, TokenFamily, digest_of_password
from project.accounts.tokens.kinds import FAMILY, ID, TYPE, USER, FamilyToken, RefreshToken
from project.accounts.tokens.lookup import has_ended

logger = logging.getLogger(__name__)

# Families of a user, ended ones included. With more, those go first that have ended, then those that were never
# refreshed (of a script that signs in for each run), then those whose last refresh is the longest ago. So many that a
# client has to sign in each second for its access tokens to end before their time.
MAX_FAMILIES = 1_000
# How many expired families, of any users, each sign-in deletes: more than it adds.
MAX_EXPIRED = 20


def start(user: Any, request: HttpRequest | None) -> RefreshToken:
    """Sign in a user whose password was right; Django's `user_logged_in` is sent, and `last_login` updated.

    Raises:
        ObjectDoesNotExist: the user has been deleted meanwhile.
    """
    with transaction.atomic():
        refresh = issue(user)
        user_logged_in.send(sender=type(user), request=request, user=user)
    return refresh


@transaction.atomic
def issue(user: Any) -> RefreshToken:
    """Return the refresh token of a new family, whose `access_token` is the access token.

    Raises:
        ObjectDoesNotExist: the user has been deleted.
    """
    # Sign-ins of one user wait for each other; the user cannot be deleted meanwhile.
    type(user)._default_manager.select_for_update(no_key=True).only("pk").get(pk=user.pk)
    _make_room(user)
    family = TokenFamily(user=user, created_at=timezone.now(), password_digest=digest_of_password(user))
    refresh = _refresh_token(family.pk.hex, user)
    family.refresh_id, family.expires_at = refresh[ID], _expiry(refresh)
    family.save(force_insert=True)
    logger.info("signed in user=%s family=%s", user.pk, family.pk.hex)
    return refresh


def rotate(used: RefreshToken, request: HttpRequest | None = None) -> RefreshToken:
    """Return the refresh token that replaces a valid one.

    Raises:
        AuthenticationFailed: as `lookup.find` does; or the token was used before, and its family has now ended.
    """
    user = used.find().user
    fresh = _refresh_token(used.family, user)
    # One statement compares and replaces: of parallel requests one finds the row as it expects.
    replaced = TokenFamily.objects.filter(pk=used.family, refresh_id=used[ID], ended_at=None).update(
        refresh_id=fresh[ID], refreshed_at=timezone.now(), expires_at=_expiry(fresh)
    )
    if not replaced:
        with transaction.atomic():
            ended = _end(EndReason.REUSE, pk=used.family)
            if ended:
                record(Kind.REUSE, request=request, user=user)
        if not ended:  # it was ended since it was read
            raise has_ended()
        logger.warning("refresh token used twice, sign-in ended user=%s family=%s", user.pk, used.family)
        raise InvalidToken(_("This refresh token was used before, so its sign-in has ended. Sign in again."))
    return fresh


def check(token: FamilyToken) -> Any:
    """Return the user of an access token, or of a refresh token that was not used yet.

    Raises:
        AuthenticationFailed: the token is of no use any more.
    """
    found = token.find()
    if token[TYPE] == RefreshToken.token_type and token[ID] != found.refresh_id:
        raise InvalidToken(_("Token is invalid"))
    return found.user


@transaction.atomic
def end(token: FamilyToken, request: HttpRequest | None = None) -> None:
    """Log out: end the family of a token; one that has ended stays so. Django's `user_logged_out` is sent.

    Raises:
        InvalidToken: there is no such family.
    """
    family = {"pk": token.family, "user_id": token.user_pk}
    if _end(EndReason.LOGOUT, **family):
        logger.info("signed out user=%s family=%s", token.user_pk, token.family)
        _send_logged_out(get_user_model()._default_manager.filter(pk=token.user_pk).first(), request)
    elif not TokenFamily.objects.filter(**family).exists():
        raise InvalidToken(_("Token is invalid"))


@transaction.atomic
def end_all(user: Any, request: HttpRequest | None = None) -> None:
    """Log out everywhere: end all families of a user. Django's `user_logged_out` is sent."""
    count = _end(EndReason.LOGOUT_EVERYWHERE, user_id=user.pk)
    logger.info("signed out everywhere user=%s families=%d", user.pk, count)
    _send_logged_out(user, request)


def _send_logged_out(user: Any, request: HttpRequest | None) -> None:
    user_logged_out.send(sender=type(user), request=request, user=user)


def _end(reason: EndReason, **families: Any) -> int:
    return TokenFamily.objects.filter(ended_at=None, **families).update(ended_at=timezone.now(), end_reason=reason)


def _refresh_token(family: str, user: Any) -> RefreshToken:
    token = RefreshToken()
    token[FAMILY], token[USER] = family, str(user.pk)
    return token


def _expiry(token: RefreshToken) -> datetime:
    return datetime.fromtimestamp(token["exp"], UTC)


def _make_room(user: Any) -> None:
    families = TokenFamily.objects.values_list("pk", flat=True)
    by_use = (F("ended_at").desc(nulls_first=True), F("refreshed_at").desc(nulls_last=True), "-created_at")
    excess = families.filter(user=user).order_by(*by_use)[MAX_FAMILIES - 1 :]
    expired = families.filter(expires_at__lt=timezone.now())[:MAX_EXPIRED]
    if leaving := [*excess, *expired]:
        # Rows that another sign-in is deleting are left to it: they might wait for each other.
        free = families.filter(pk__in=leaving).select_for_update(skip_locked=True)
        TokenFamily.objects.filter(pk__in=free).delete()
