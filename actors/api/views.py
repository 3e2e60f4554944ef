"""The REST API of the activity log, read-only, for every signed-in user."""

from collections.abc import Set
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django_filters.rest_framework import DjangoFilterBackend
from django_filters.utils import translate_validation
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from actors import timeline
from actors.api import stream
from actors.api.filters import ActivityFilter, TaskActivityFilter
from actors.api.pagination import ActivityPagination
from actors.api.serializers import ActivitySerializer
from actors.models import Activity, Event
from actors.rest.cursors import Place
from actors.rest.known import KnownParameters
from actors.rest.renderers import StreamRenderer

BY_VERSION = {"-version": Activity._meta.get_field("version")}


@extend_schema(
    summary="List events",
    description="The events of all tasks that workers have logged, newest first, in pages of 20 that do not shift.",
)
class ActivityView(KnownParameters, ListAPIView[Activity]):
    """The events of all tasks that workers have logged, newest first."""

    queryset = Activity.objects.all()
    serializer_class = ActivitySerializer
    permission_classes = (IsAuthenticated,)
    pagination_class = ActivityPagination
    filter_backends = (DjangoFilterBackend,)
    filterset_class = ActivityFilter

    def known_parameters(self) -> Set[str]:
        return {*self.filterset_class.base_filters, "cursor", "page_size"}


class TaskActivityView(ActivityView):
    """The events of one task, newest first, including those not logged yet; also after the task's deletion."""

    filterset_class = TaskActivityFilter

    def get_queryset(self) -> QuerySet[Activity]:
        return super().get_queryset().filter(task_id=self.kwargs.get("task_id"))

    @extend_schema(
        operation_id="tasks_activity_list",
        summary="List a task's events",
        description="Newest first, including those that no worker has logged yet; also after the task's deletion.",
        tags=["activity"],
        responses=ActivitySerializer(many=True),
        parameters=[OpenApiParameter("task_id", OpenApiTypes.INT, OpenApiParameter.PATH)],
    )
    def get(self, request: Request, task_id: int) -> Response:
        chosen = DjangoFilterBackend().get_filterset(request, self.get_queryset(), self)
        if not chosen.is_valid():
            raise translate_validation(chosen.errors)
        logged, owed = chosen.qs, chosen.filter_owed(timeline.owed([task_id]))

        def find(place: Place | None, limit: int) -> list[Activity]:
            bounds = {"gt" if place.backwards else "lt": place.values[0]} if place else {}
            return timeline.read(logged, owed, bounds=bounds, upwards=bool(place and place.backwards), limit=limit)

        paginator = ActivityPagination()
        page = paginator.paginate(request, BY_VERSION, find)
        if not page and not self.exists(task_id):
            raise NotFound
        return paginator.get_paginated_response(self.get_serializer(page, many=True).data)

    def exists(self, task_id: int) -> bool:
        """Return whether the task has any event, so that it exists or did exist."""
        return timeline.is_known(task_id)


# As the OpenAPI schema describes one of a stream.
SENT_EVENT = {
    "type": "object",
    "description": "To a client that takes the stream apart: one of its events. The first one has an `id` alone.",
    "properties": {
        "id": {"type": "string", "description": "The last one is the Last-Event-ID to continue from."},
        "event": {"type": "string", "enum": Event.values},
        "data": {"type": "string", "description": "The event as in the list, an `Activity`, in JSON."},
    },
    "required": ["data"],
}
STREAM = {"anyOf": [{"type": "string", "description": "The whole stream, once it has ended."}, SENT_EVENT]}


class EventStreamRenderer(StreamRenderer):
    """Server-Sent Events, written by `stream`."""

    media_type = "text/event-stream"
    format = "sse"


SENT_AS: dict[str, Any] = {
    "content_type": f"{EventStreamRenderer.media_type}; charset=utf-8",
    # Keeps proxies from buffering the stream (nginx heeds the second).
    "headers": {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
}


class ActivityStreamView(KnownParameters):
    """Events as workers log them, as Server-Sent Events; resumable with `Last-Event-ID`."""

    permission_classes = (IsAuthenticated,)
    renderer_classes = (EventStreamRenderer,)

    def known_parameters(self) -> Set[str]:
        return {"event", "task"}

    @extend_schema(
        operation_id="activity_stream",
        summary="Follow events",
        description="Events as workers log them, as Server-Sent Events, each once. The stream ends after ten minutes; "
        "connect again with the last `id` as Last-Event-ID, as a browser's EventSource does by itself. A client whose "
        "`Accept` names `text/event-stream` gets, in place of a 429 or 503, a stream that ends at once and says when "
        "to connect again.",
        parameters=[
            OpenApiParameter("Last-Event-ID", stream.NUMBER, OpenApiParameter.HEADER),
            OpenApiParameter("task", stream.NUMBER),
            OpenApiParameter("event", OpenApiTypes.STR, enum=Event.values),
        ],
        responses={
            (200, "text/event-stream"): STREAM,
            429: OpenApiResponse(description="Too many requests, or as many streams at a time as one user may have."),
            503: OpenApiResponse(description="The database is not available, or too many clients follow the activity."),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(stream.open_client(request), **SENT_AS)

    def handle_exception(self, exc: Exception) -> HttpResponseBase:  # type: ignore[override]  # DRF takes any response
        response = super().handle_exception(exc)
        asks_for_a_stream = EventStreamRenderer.media_type in self.request.headers.get("Accept", "").lower()
        if not asks_for_a_stream or response.status_code not in stream.TEMPORARY:
            return response
        after_seconds = int(response.headers.get("Retry-After", 0))
        return HttpResponse(stream.come_back(response.status_code, after_seconds=after_seconds), **SENT_AS)
