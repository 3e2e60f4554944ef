"""Health probes for load balancers and orchestrators: whether the process is alive, and whether it can serve.

Guarantee: they answer for any host, over http and https alike, by any method, because Kubernetes and load
balancers probe a bare IP address. RabbitMQ is not probed: an outage of it delays background work, and no request. A
queue that another installation uses too does the same. Readiness says so, for operators, and stays 200.
"""

from datetime import timedelta
from typing import Any

from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from actors.outbox.models import OutboxMessage, State, WatchedQueue

ADDRESS = "health/"
SHARED = "shared with another installation"
LATE = "late"
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
        messages = LATE if late.exists() else "ok"
    except Error:
        return JsonResponse({"status": "unavailable", "database": "unavailable"}, status=503)
    queues = SHARED if is_shared else "ok"
    return JsonResponse({"status": "ok", "database": "ok", "queues": queues, "messages": messages})


urlpatterns = [path("live/", live), path("ready/", ready, name="ready")]


def _answer(text: str, **fields: list[str]) -> dict[str, Any]:
    """Describe a response for the OpenAPI schema, by the values that each field may have."""
    properties = {name: {"type": "string", "enum": values} for name, values in fields.items()}
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_LIVE = {
    "operationId": "health_live",
    "summary": "Whether the process is alive",
    "description": "For orchestrators: a process that does not answer has to be restarted.",
    "tags": ["health"],
    "responses": {"200": _answer("It is.", status=["ok"])},
}
_READY = {
    "operationId": "health_ready",
    "summary": "Whether the service can serve",
    "description": "For load balancers: requests may come as long as the status is 200.",
    "tags": ["health"],
    "responses": {
        "200": _answer(
            "It can: the database answers.",
            status=["ok"],
            database=["ok"],
            queues=["ok", SHARED],
            messages=["ok", LATE],
        ),
        "503": _answer("The database does not answer.", status=["unavailable"], database=["unavailable"]),
    },
}
SCHEMA: dict[str, Any] = {f"/{ADDRESS}live/": {"get": _LIVE}, f"/{ADDRESS}ready/": {"get": _READY}}
"""Their part of the OpenAPI schema: drf-spectacular sees only DRF's views."""
