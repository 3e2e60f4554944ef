"""The development settings and the actors that misbehave, for the stack that is broken on purpose."""

from settings.development import *

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]
DRAMATIQ_AUTODISCOVER_MODULES = [*DRAMATIQ_AUTODISCOVER_MODULES, "actors"]
