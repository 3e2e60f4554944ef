"""Requests that are safe to repeat: one with an `Idempotency-Key` is executed once; its response is replayed.

Guarantee: the key commits in one transaction with what the request changes. A client that got no response, for any
reason, may repeat the request with the same key; nothing is done twice. Keys belong to a user and are kept for
`IDEMPOTENCY_HOURS`.
"""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from tasks.history.locks import try_lock
from tasks.models import IdempotencyKey

HEADER = "Idempotency-Key"
VARIABLE = "HTTP_IDEMPOTENCY_KEY"
REPLAYED = "Idempotency-Replayed"
PATTERN = r"^[\x21-\x7e]{1,255}$"
KEPT_HEADERS = ("ETag", "Location")

PARAMETER = OpenApiParameter(HEADER, OpenApiTypes.STR, OpenApiParameter.HEADER, pattern=PATTERN)


class StillRunning(APIException):
    """Raised while another request with this key is being executed."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = gettext_lazy("A request with this Idempotency-Key is still being carried out. Repeat it later.")
    default_code = "still_running"
    wait = 1  # seconds, sent as Retry-After


class KeyReused(APIException):
    """Raised when a key is used again for a different request."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = gettext_lazy(
        "This Idempotency-Key was used for another request. Take a new key for a new request."
    )
    default_code = "key_reused"


def once(request: Request, do: Callable[[], Response]) -> Response:
    """Execute a request, or replay the response that is stored under its key; without a key, just execute it.

    The response to a refused request is not stored: the corrected request may use the same key.

    Args:
        request: of a signed-in user.
        do: executes it, and raises if it is refused.

    Raises:
        KeyReused: the key was used for another request.
        ParseError: the key is malformed.
        StillRunning: another request with this key is being executed.
    """
    if VARIABLE not in request.META:
        return do()
    key, fingerprint, user_id = _key(request), _fingerprint(request), request.user.pk
    assert user_id is not None, "permissions let only signed-in users write"
    with transaction.atomic():
        if not try_lock(f"{user_id}:{key}"):
            raise StillRunning
        keys = IdempotencyKey.objects.filter(user_id=user_id, key=key)
        kept = keys.exclude(pk__in=expired().values("pk")).first()
        if kept is not None:
            return _replay(kept, fingerprint)
        keys.delete()
        response = do()
        IdempotencyKey.objects.create(
            user_id=user_id,
            key=key,
            fingerprint=fingerprint,
            status=response.status_code,
            headers={name: response.headers[name] for name in KEPT_HEADERS if name in response.headers},
            body=JSONRenderer().render(response.data).decode(),
        )
    return response


def expired() -> QuerySet[IdempotencyKey]:
    """Return the keys older than `IDEMPOTENCY_HOURS`, whose responses are not replayed any more."""
    return IdempotencyKey.objects.filter(created_at__lt=timezone.now() - timedelta(hours=settings.IDEMPOTENCY_HOURS))


def _replay(kept: IdempotencyKey, fingerprint: str) -> Response:
    if kept.fingerprint != fingerprint:
        raise KeyReused
    headers = {**kept.headers, REPLAYED: "true"}
    return Response(json.loads(kept.body) if kept.body else None, status=kept.status, headers=headers)


def _key(request: Request) -> str:
    key: str = request.META[VARIABLE]
    if not re.fullmatch(PATTERN, key):
        raise ParseError(_("Idempotency-Key takes 1 to 255 visible ASCII characters, such as a UUID."))
    return key


def _fingerprint(request: Request) -> str:
    """Return a digest of method, path and parsed body."""
    asked = [request.method, request.path, request.data]
    return sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()
