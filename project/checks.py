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


def check_proxies(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warn of proxies behind which all clients are counted as one."""
    if not settings.TRUSTED_PROXIES or settings.NUM_PROXIES:
        return []
    text = (
        "TRUSTED_PROXIES is set and NUM_PROXIES is 0: all clients have the proxy's address, and one of them can use up "
        "the logins and requests of all others."
    )
    hint = "Set NUM_PROXIES to the number of proxies that add the client's address to X-Forwarded-For."
    return [checks.Warning(text, hint=hint, id="vazifa.W002")]
