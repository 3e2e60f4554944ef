"""Many tasks created in one request: all of them or none."""

from functools import partial
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from tasks import idempotency
from tasks.models import Task
from tasks.serializers import TaskSerializer

MAX_TASKS = 500


class BulkRequests(GenericViewSet[Task]):
    """Views of many tasks at a time."""

    @extend_schema(
        parameters=[idempotency.PARAMETER],
        request={"application/json": TaskSerializer(many=True)},
        responses={201: TaskSerializer(many=True)},
    )
    @action(detail=False, methods=["post"], url_path="bulk", pagination_class=None, filter_backends=())
    def create_many(self, request: Request) -> Response:
        """Create up to 500 tasks, all of them or none."""
        return idempotency.once(request, partial(self._create_many, request))

    def _create_many(self, request: Request) -> Response:
        wanted = _validated(TaskSerializer, request.data)
        assert request.user.is_authenticated
        tasks = Task.objects.bulk_create([Task(owner=request.user, **values) for values in wanted])
        return Response(self.get_serializer(tasks, many=True).data, status=status.HTTP_201_CREATED)


def _validated(serializer_class: type[BaseSerializer[Any]], wanted: Any) -> list[dict[str, Any]]:
    """Return the validated values of each task in a request's list.

    Raises:
        ValidationError: it is no list, has too few or too many, or some of them are invalid.
    """
    if not isinstance(wanted, list):
        raise ValidationError({"detail": _("Send a list of tasks.")})
    if not 0 < len(wanted) <= MAX_TASKS:
        message = _("Send 1 to %(most)d tasks at a time, not %(count)d.")
        raise ValidationError({"detail": message % {"most": MAX_TASKS, "count": len(wanted)}})
    serializer: Any = serializer_class(data=wanted, many=True)
    if not serializer.is_valid():
        raise ValidationError({str(index): errors for index, errors in serializer.errors.items()})
    values: list[dict[str, Any]] = serializer.validated_data
    return values
