"""Health probes for load balancers and orchestrators: is the process alive, can it serve?

RabbitMQ is not probed: whether it is up decides when work is done, not whether a request can be answered.
"""

from collections.abc import Callable

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse


def live(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process answers at all."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database answers, otherwise 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse({"status": "unavailable", "database": "unavailable"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


PROBES = {"/health/live/": live, "/health/ready/": ready}


class HealthProbes:
    """Middleware, before any that checks the host: answers probes for any host, over http and https alike.

    Kubernetes and load balancers probe a bare IP address, which ALLOWED_HOSTS cannot know.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = PROBES.get(request.path_info, self.get_response)
        return answer(request)
