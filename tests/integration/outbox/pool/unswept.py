"""The pool's settings and an actor that counts down, in processes whose relay does not sweep for an hour."""

from tests.integration.outbox.pool.settings import *  # noqa: F403 – as all settings do

DRAMATIQ_AUTODISCOVER_MODULES = [*DRAMATIQ_AUTODISCOVER_MODULES, "countdown"]  # noqa: F405
