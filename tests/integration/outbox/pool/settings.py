"""The development settings, a slow actor and coroutine actors; a shared queue is looked at every second."""

from settings.development import *  # noqa: F403 – as all settings do

INSTALLED_APPS = [*INSTALLED_APPS, "tests.integration.outbox.pool"]  # noqa: F405
DRAMATIQ_AUTODISCOVER_MODULES = [*DRAMATIQ_AUTODISCOVER_MODULES, "slow", "coroutines"]  # noqa: F405
DRAMATIQ_MIDDLEWARE.insert(0, "dramatiq.middleware.AsyncIO")  # noqa: F405
OUTBOX_PROBE_SECONDS = 1.0
