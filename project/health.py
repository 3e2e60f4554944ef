"""Health probes for load balancers and orchestrators: whether the process is alive, and whether it can serve.

Guarantee: they answer for any host, over http and https alike, by any method, because Kubernetes and load
balancers probe a bare IP address. RabbitMQ is not probed: an outage of it delays background work, and no request. A
queue that another installation uses too does the same. Readiness says so, for operators, and stays 200.
"""

from datetime import timedelta

from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from actors.outbox.models import OutboxMessage, State, WatchedQueue

ADDRESS = "health/"
SHARED = "shared with another installation"
# How long a message may be due before it counts as late. A relay publishes most of them at once.
LATE_AFTER = timedelta(seconds=30)
UNPUBLISHED = (State.PENDING, State.SCHEDULED)


@csrf_exempt
def live(request: HttpRequest) -> JsonResponse:
    """Answer 200: the process is alive."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database answers, otherwise 503; and whether background work is late or stands still."""
    try:
        is_shared = WatchedQueue.objects.filter(probe_at__isnull=False).exists()
        late = OutboxMessage.objects.filter(state__in=UNPUBLISHED, due_at__lt=timezone.now() - LATE_AFTER)
        messages = "late" if late.exists() else "ok"
    except Error:
        return JsonResponse({"status": "unavailable", "database": "unavailable"}, status=503)
    queues = SHARED if is_shared else "ok"
    return JsonResponse({"status": "ok", "database": "ok", "queues": queues, "messages": messages})


urlpatterns = [path("live/", live), path("ready/", ready, name="ready")]
