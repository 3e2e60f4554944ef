"""The development settings and the actors that misbehave, for the stack that is broken on purpose."""

from settings.development import *  # noqa: F403 – as all settings do

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]  # noqa: F405
DRAMATIQ_AUTODISCOVER_MODULES = [*DRAMATIQ_AUTODISCOVER_MODULES, "actors"]  # noqa: F405
