"""The lesson's API: serializer, permission, pages and view set."""

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import permissions, serializers, viewsets
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from bench.peers.models import Task


class TaskSerializer(serializers.ModelSerializer[Task]):
    owner = serializers.ReadOnlyField(source="owner.username")

    class Meta:
        model = Task
        fields = ("id", "title", "description", "completed", "owner", "created_at")


class IsOwnerOrReadOnly(permissions.BasePermission):
    def has_object_permission(self, request: Request, view: APIView, obj: Task) -> bool:
        return request.method in permissions.SAFE_METHODS or obj.owner == request.user


class TaskPagination(PageNumberPagination):
    page_size = 5
    page_size_query_param = "page_size"
    max_page_size = 100


class TaskViewSet(viewsets.ModelViewSet[Task]):
    # The lesson reads each task's owner by a separate query; a reader who looks into it joins them.
    queryset = Task.objects.select_related("owner")
    serializer_class = TaskSerializer
    permission_classes = (permissions.IsAuthenticated, IsOwnerOrReadOnly)
    filter_backends = (DjangoFilterBackend, SearchFilter, OrderingFilter)
    filterset_fields = ("completed", "owner")
    search_fields = ("title", "description")
    ordering_fields = ("created_at", "completed")
    ordering = ("created_at",)
    pagination_class = TaskPagination

    def perform_create(self, serializer: serializers.BaseSerializer[Task]) -> None:
        serializer.save(owner=self.request.user)
