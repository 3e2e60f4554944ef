"""The development settings and the actors that misbehave, for the stack that is broken on purpose."""

from settings.development import *  # noqa: F403 – as all settings do

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]  # noqa: F405
DRAMATIQ_AUTODISCOVER_MODULES = [*DRAMATIQ_AUTODISCOVER_MODULES, "actors"]  # noqa: F405
# As in production: connections outlive the request that opened them, and may be cut while they are idle.
DATABASES["default"]["CONN_MAX_AGE"] = 60  # noqa: F405
