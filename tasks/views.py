"""The REST API of tasks."""

from collections.abc import Set
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError as FormValidationError
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from actors.api.views import TaskActivityView
from actors.rest.known import KnownParameters
from tasks import conditional, export, idempotency
from tasks.bulk import BulkRequests
from tasks.conditional import ConditionalRequests
from tasks.filters import BoundedSearchFilter, FilterBackend, StableOrderingFilter, StrictBooleanField, TaskFilter
from tasks.listing.pagination import TaskPagination, chosen_pagination
from tasks.models import Task
from tasks.permissions import IsOwnerOrReadOnly
from tasks.serializers import TaskSerializer

# What chooses tasks and their order; and all parameters, by action.
CHOICE = {*TaskFilter.base_filters, BoundedSearchFilter.search_param, StableOrderingFilter.ordering_param}
PARAMETERS = {"list": CHOICE | {"page", "page_size", "pagination", "cursor"}, "export": CHOICE | {"bom"}}

BOM = OpenApiParameter("bom", OpenApiTypes.BOOL)
ETAGS = [OpenApiExample("any state", "*"), OpenApiExample("one state", '"1-0123456789abcdef"')]
IF_MATCH, IF_NONE_MATCH = (
    OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, pattern=conditional.PATTERN, examples=ETAGS)
    for name in ("If-Match", "If-None-Match")
)


@extend_schema_view(
    list=extend_schema(
        summary="List tasks",
        description="The tasks of all users, in pages of 5, the oldest first. Filters, search and order go together.",
    ),
    create=extend_schema(
        summary="Create a task",
        description="Its owner is the user who creates it.",
        parameters=[idempotency.PARAMETER],
    ),
    retrieve=extend_schema(
        summary="Read a task",
        description="Every signed-in user may. With the task's `ETag` as If-None-Match, a 304 if it is unchanged.",
        parameters=[IF_MATCH, IF_NONE_MATCH],
    ),
    update=extend_schema(
        summary="Replace a task",
        description="Only its owner may. A field that is left out keeps its value. With If-Match, no change is lost.",
        parameters=[IF_MATCH],
    ),
    partial_update=extend_schema(
        summary="Change a task",
        description="Only its owner may. The fields that are sent change. With If-Match, no change is lost.",
        parameters=[IF_MATCH],
    ),
    destroy=extend_schema(
        summary="Delete a task",
        description="Only its owner may. Its events stay, at `/tasks/{task_id}/activity/`.",
        parameters=[IF_MATCH],
        responses={204: OpenApiResponse(description="Deleted.")},
    ),
)
class TaskViewSet(KnownParameters, BulkRequests, ConditionalRequests):
    """Tasks: every signed-in user reads them all, only a task's owner changes it."""

    queryset = Task.objects.select_related("owner")
    serializer_class = TaskSerializer
    permission_classes = (IsAuthenticated, IsOwnerOrReadOnly)
    pagination_class = TaskPagination
    filter_backends = (FilterBackend, BoundedSearchFilter, StableOrderingFilter)
    filterset_class = TaskFilter
    search_fields = ("title__finds", "description__finds")
    ordering_fields = ("created_at", "completed")
    ordering = ("created_at",)

    def known_parameters(self) -> Set[str]:
        return PARAMETERS.get(self.action, frozenset())

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self._paginator = chosen_pagination(request)
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(page)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return idempotency.once(request, partial(super().create, request, *args, **kwargs))

    def perform_create(self, serializer: BaseSerializer[Task]) -> None:
        serializer.save(owner=self.request.user)

    @extend_schema(
        operation_id="tasks_export",
        summary="Export tasks",
        description="All tasks that the filters leave, as a file, as they are when it begins. Without a `format`, "
        "`Accept` decides between csv and jsonl: lines of JSON, each a task as elsewhere.",
        filters=True,
        parameters=[OpenApiParameter("format", OpenApiTypes.STR, enum=["csv", "jsonl"]), BOM],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            429: OpenApiResponse(description="Too many requests, or as many exports at a time as one user may have."),
            503: OpenApiResponse(description="The database is not available, or too many files are being exported."),
        },
    )
    @action(
        detail=False,
        url_path="export",
        pagination_class=None,
        renderer_classes=(export.JsonLinesRenderer, export.CsvRenderer),
    )
    def export(self, request: Request) -> StreamingHttpResponse:
        """All tasks that the filters leave, as a file."""
        try:
            bom = StrictBooleanField(required=False).clean(request.query_params.get("bom"))
        except FormValidationError as error:
            raise ValidationError({"bom": error.messages}) from None
        tasks = self.filter_queryset(self.get_queryset())
        return export.stream(tasks, request.accepted_renderer, bom=bool(bom), user_id=request.user.pk)


class TaskHistoryView(TaskActivityView):
    """One task's events, the latest first, including those not logged yet; also after the task's deletion."""

    def exists(self, task_id: int) -> bool:
        # A task that was loaded from a fixture has no history.
        return super().exists(task_id) or Task.objects.filter(pk=task_id).exists()
