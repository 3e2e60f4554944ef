"""Many tasks in one request: created, changed or deleted, all of them or none.

Guarantee: tasks are locked in the order of their ids before they are judged and written, in one transaction, so two
such requests neither deadlock nor overwrite each other; and the queries are bounded, however many tasks there are.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from tasks import idempotency
from tasks.bulk_serializers import TaskChangeSerializer, TaskReferenceSerializer
from tasks.conditional import PreconditionFailed, PreconditionRequired, etag_of, is_named
from tasks.history.value_by_id import ValueById
from tasks.models import Task
from tasks.serializers import TaskSerializer

MAX_TASKS = 500


class Refused(APIException):
    """Raised with the errors of single tasks, by their index in the list; nothing was changed."""

    def __init__(self, errors: Mapping[int, APIException]) -> None:
        statuses = {error.status_code for error in errors.values()}
        self.status_code = statuses.pop() if len(statuses) == 1 else status.HTTP_400_BAD_REQUEST
        super().__init__(
            {str(index): {"detail": error.detail, "code": error.get_codes()} for index, error in errors.items()}
        )


class BulkRequests(GenericViewSet[Task]):
    """Views of many tasks at a time."""

    @extend_schema(
        operation_id="tasks_bulk_create",
        summary="Create many tasks",
        description="1 to 500 tasks, all of them or none. They are answered in the order of the list.",
        parameters=[idempotency.PARAMETER],
        request={"application/json": TaskSerializer(many=True)},
        responses={201: TaskSerializer(many=True)},
    )
    @action(detail=False, methods=["post"], url_path="bulk", pagination_class=None, filter_backends=())
    def create_many(self, request: Request) -> Response:
        """Create up to 500 tasks, all of them or none."""
        return idempotency.once(request, partial(self._create_many, request))

    @extend_schema(
        operation_id="tasks_bulk_update",
        summary="Change many tasks",
        description="1 to 500 of the user's own tasks, all of them or none: each with the fields to change, and "
        "`if_match` if no change is to be lost. They are answered in the order of the list.",
        parameters=[idempotency.PARAMETER],
        request={"application/json": TaskChangeSerializer(many=True)},
        responses={200: TaskSerializer(many=True)},
    )
    @create_many.mapping.patch
    def change_many(self, request: Request) -> Response:
        """Change up to 500 tasks, all of them or none; each, if `if_match` is given, only in the state it names."""
        return idempotency.once(request, partial(self._change_many, request))

    @extend_schema(  # project.api.schema adds the body
        operation_id="tasks_bulk_destroy",
        summary="Delete many tasks",
        description="1 to 500 of the user's own tasks, all of them or none: each with `if_match` if no change is to be "
        "lost.",
        parameters=[idempotency.PARAMETER],
        responses={204: OpenApiResponse(description="Deleted.")},
    )
    @create_many.mapping.delete
    def delete_many(self, request: Request) -> Response:
        """Delete up to 500 tasks, all of them or none; each, if `if_match` is given, only in the state it names."""
        return idempotency.once(request, partial(self._delete_many, request))

    def _create_many(self, request: Request) -> Response:
        wanted = _validated(TaskSerializer, request.data)
        assert request.user.is_authenticated
        tasks = Task.objects.bulk_create([Task(owner=request.user, **values) for values in wanted])
        return Response(self.get_serializer(tasks, many=True).data, status=status.HTTP_201_CREATED)

    @transaction.atomic
    def _change_many(self, request: Request) -> Response:
        wanted = _validated(TaskChangeSerializer, request.data)
        tasks = self._locked(wanted)
        fields = {name for named in wanted for name in named} - TaskReferenceSerializer().fields.keys()
        values = {name: {named["id"]: named[name] for named in wanted if name in named} for name in sorted(fields)}
        if values:
            rows = Task.objects.filter(pk__in=[task.pk for task in tasks])
            rows.update(**{name: ValueById(Task, name, by_id) for name, by_id in values.items()})
        stored = Task.objects.select_related("owner").in_bulk([task.pk for task in tasks])
        return Response(self.get_serializer([stored[task.pk] for task in tasks], many=True).data)

    @transaction.atomic
    def _delete_many(self, request: Request) -> Response:
        tasks = self._locked(_validated(TaskReferenceSerializer, request.data))
        Task.objects.filter(pk__in=[task.pk for task in tasks]).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _locked(self, wanted: Sequence[Mapping[str, Any]]) -> list[Task]:
        """Return the named tasks, locked until the end of the transaction.

        Raises:
            ParseError: the request has an `If-Match`, which names no task.
            Refused: some of the tasks cannot be written.
        """
        if "If-Match" in self.request.headers:
            raise ParseError(_("If-Match is about one task. Send the ETag of each as its if_match."))
        # Without the join on owners, for the reason in `VersionedQuerySet.locked`.
        rows = Task.objects.filter(pk__in=[named["id"] for named in wanted]).prefetch_related("owner")
        found = {task.pk: task for task in rows.select_for_update(no_key=True).order_by("pk")}
        tasks: dict[int, Task] = {}
        errors: dict[int, APIException] = {}
        for index, named in enumerate(wanted):
            try:
                if named["id"] in tasks:
                    raise ParseError(_("This task is in the list more than once."), code="named_twice")
                tasks[named["id"]] = self._judged(found.get(named["id"]), named.get("if_match"))
            except APIException as error:
                errors[index] = error
        if errors:
            raise Refused(errors)
        return list(tasks.values())

    def _judged(self, task: Task | None, condition: str | None) -> Task:
        if task is None:
            raise NotFound
        self.check_object_permissions(self.request, task)
        if condition is None and settings.REQUIRE_IF_MATCH:
            raise PreconditionRequired(_("Say which state of the task you mean: send its ETag as if_match."))
        if condition is not None and not is_named(etag_of(TaskSerializer(task).data), condition):
            raise PreconditionFailed
        return task


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
