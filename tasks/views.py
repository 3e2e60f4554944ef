"""The REST API of tasks."""

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.permissions import IsAuthenticated
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ModelViewSet

from tasks.filters import BoundedSearchFilter, StableOrderingFilter, TaskFilter
from tasks.models import Task
from tasks.pagination import TaskPagination
from tasks.permissions import IsOwnerOrReadOnly
from tasks.serializers import TaskSerializer


class TaskViewSet(ModelViewSet[Task]):
    """Tasks: every signed-in user reads them all, only a task's owner changes it."""

    queryset = Task.objects.select_related("owner")
    serializer_class = TaskSerializer
    permission_classes = (IsAuthenticated, IsOwnerOrReadOnly)
    pagination_class = TaskPagination
    filter_backends = (DjangoFilterBackend, BoundedSearchFilter, StableOrderingFilter)
    filterset_class = TaskFilter
    search_fields = ("title", "description")
    ordering_fields = ("created_at", "completed")
    ordering = ("created_at",)

    def perform_create(self, serializer: BaseSerializer[Task]) -> None:
        serializer.save(owner=self.request.user)
