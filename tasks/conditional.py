"""Conditional requests by `ETag`: a read of an unchanged task is a 304, a write to a changed one is a 412.

Guarantee: a write compares and changes under a lock on the task's row, so of two writes with one `ETag` one is refused.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ParseError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from tasks.listing.compiled import read
from tasks.models import Task

# What both headers take, also in the OpenAPI schema. No tag of ours has a comma.
_TAG = r'(W/)?"[^",\x00]*"'
PATTERN = rf"^(\*|[ \t,]*{_TAG}([ \t]*,[ \t,]*{_TAG})*[ \t,]*)$"
# A tag of ours, also as a proxy that compresses alters it: nginx puts W/ before it, Apache and Caddy a suffix into it.
_OURS = re.compile(r'"(\d+-[0-9a-f]{16})(?:-(?:gzip|br|zstd|deflate))?"')


class PreconditionFailed(APIException):
    """Raised when a condition of the client is not met; nothing was changed."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = gettext_lazy("The task has changed since you read it. Read it again, then decide.")
    default_code = "precondition_failed"


class PreconditionRequired(APIException):
    """Raised when a write has no `If-Match` although `REQUIRE_IF_MATCH` is set."""

    status_code = status.HTTP_428_PRECONDITION_REQUIRED
    default_detail = gettext_lazy("Say which state of the task you mean: send its ETag as If-Match.")
    default_code = "precondition_required"


def etag_of(data: Mapping[str, Any]) -> str:
    """Return the entity tag of a task's representation: the version and a digest of all fields."""
    digest = sha256(orjson.dumps(data)).hexdigest()[:16]
    return f'"{data["version"]}-{digest}"'


def is_named(etag: str, condition: str) -> bool:
    """Return whether a well-formed condition names this state of a task, or any.

    So does a tag that a proxy has made weak or given a suffix: a tag is given to one state and sent as a strong one, so
    what was added says how the response was encoded, not that the state may be another.
    """
    return condition.strip() == "*" or etag.strip('"') in _OURS.findall(condition)


class ConditionalRequests(ModelViewSet[Task]):
    """Views of single tasks that apply the client's conditions (RFC 9110, section 13)."""

    is_writing = False

    def get_queryset(self) -> QuerySet[Task]:
        tasks = super().get_queryset()
        # Without the join on owners, for the reason in `VersionedQuerySet.locked`.
        return tasks.select_related(None).select_for_update(of=("self",), no_key=True) if self.is_writing else tasks

    def get_object(self) -> Task:
        task = super().get_object()
        if self.is_writing:
            if settings.REQUIRE_IF_MATCH and "If-Match" not in self.request.headers:
                raise PreconditionRequired
            _has_client_state(self.request, etag_of(self.get_serializer(task).data))
        return task

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if request.accepted_renderer.format != "json":
            # The browsable API's form needs an instance.
            response = super().retrieve(request, *args, **kwargs)
            response.headers["ETag"] = etag_of(response.data)
            return response
        task = self._read()
        headers = {"ETag": etag_of(task)}
        if _has_client_state(request, headers["ETag"]):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(task, headers=headers)

    def _read(self) -> dict[str, Any]:
        try:
            [task] = read(self.filter_queryset(self.get_queryset()).filter(pk=self.kwargs["pk"]), 0, 1)
        except ValueError:  # no such task, or an id that is no number
            raise NotFound from None
        return task

    def get_success_headers(self, data: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers of a response to a creation."""
        return {"ETag": etag_of(data)}

    @transaction.atomic
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.is_writing = True
        response = super().update(request, *args, **kwargs)
        response.headers["ETag"] = etag_of(response.data)
        return response

    @transaction.atomic
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.is_writing = True
        return super().destroy(request, *args, **kwargs)


def _has_client_state(request: Request, etag: str) -> bool:
    """Return whether the client already has this state of the task; always False for a write.

    Conditions on dates are ignored, because tasks have no Last-Modified (RFC 9110, 13.1.3 and 13.1.4).

    Raises:
        ParseError: a condition is malformed. To ignore it would let through what it was meant to stop.
        PreconditionFailed: a condition is not met.
    """
    wanted, known = _condition(request, "If-Match"), _condition(request, "If-None-Match")
    if wanted is not None and not is_named(etag, wanted):
        raise PreconditionFailed
    is_known = known is not None and is_named(etag, known)
    if is_known and request.method not in SAFE_METHODS:
        raise PreconditionFailed
    return is_known


def _condition(request: Request, name: str) -> str | None:
    condition = request.headers.get(name)
    if condition is not None and not re.fullmatch(PATTERN, condition.strip()):
        raise ParseError(_("%(header)s takes entity tags as they were sent, in quotes, or *.") % {"header": name})
    return condition
