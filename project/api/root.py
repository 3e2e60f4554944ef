"""The root of the API, `/`: links to everything else."""

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from actors.rest.parameters import KnownParameters

PLACES = {
    "tasks": "task-list",
    "activity": "activity",
    "token": "token_obtain_pair",
    "docs": "docs",
    "schema": "schema",
    "admin": "admin:index",
    "login": "rest_framework:login",
}


class RootView(KnownParameters):
    """A task service: where to find the tasks, a token to reach them with, and how it all works."""

    permission_classes = (AllowAny,)

    def get_view_name(self) -> str:
        return "Vazifa"

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        return Response({name: reverse(place, request=request) for name, place in PLACES.items()})
