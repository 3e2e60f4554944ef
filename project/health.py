"""Health probes for load balancers and orchestrators: whether the process is alive, and whether it can serve.

Guarantee: they answer for any host, over http and https alike, by any method, because Kubernetes and load
balancers probe a bare IP address. RabbitMQ is not probed: an outage of it delays background work, and no request. A
queue that another installation uses too does the same; readiness says so, for operators, and stays 200.
"""

from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from actors.outbox.models import WatchedQueue

ADDRESS = "health/"
SHARED = "shared with another installation"


@csrf_exempt
def live(request: HttpRequest) -> JsonResponse:
    """Answer 200: the process is alive."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database answers, otherwise 503; and whether workers found their queues shared."""
    try:
        is_shared = WatchedQueue.objects.filter(probe_at__isnull=False).exists()
    except Error:
        return JsonResponse({"status": "unavailable", "database": "unavailable"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok", "queues": SHARED if is_shared else "ok"})


urlpatterns = [path("live/", live), path("ready/", ready)]
