"""Who may read and who may change a task."""

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.models import Task


class IsOwnerOrReadOnly(BasePermission):
    """Any user may read a task; only its owner may change it."""

    def has_object_permission(self, request: Request, view: APIView, obj: Task) -> bool:
        return request.method in SAFE_METHODS or obj.owner_id == request.user.pk
