"""System checks of the web service; `manage.py check` runs them."""

from typing import Any

from django.conf import settings
from django.core import checks

PER_PROCESS = "django.core.cache.backends.locmem.LocMemCache"


def check_throttles(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warn of throttles that count in each of several web processes alone."""
    rates = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"].values()
    processes = settings.WEB_CONCURRENCY
    if processes <= 1 or settings.CACHES["default"]["BACKEND"] != PER_PROCESS or not any(rates):
        return []
    text = (
        f"Each of {processes} web processes counts requests in its own memory: a client may make up to {processes} "
        "times as many as THROTTLE_ANON and THROTTLE_USER say."
    )
    hint = "Set CACHE_URL to a cache that the processes share. Limits of logins hold without: the database counts them."
    return [checks.Warning(text, hint=hint, id="vazifa.W001")]
