"""Health probes for load balancers and orchestrators: whether the process is alive, and whether it can serve.

Guarantee: they answer for any host, over http and https alike, by any method, because Kubernetes and load
balancers probe a bare IP address. RabbitMQ is not probed: an outage of it delays background work, and no request.
"""

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

ADDRESS = "health/"


@csrf_exempt
def live(request: HttpRequest) -> JsonResponse:
    """Answer 200: the process is alive."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database answers, otherwise 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse({"status": "unavailable", "database": "unavailable"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


urlpatterns = [path("live/", live), path("ready/", ready)]
