"""Finds the actors: workers import all of them at their boot, other processes know only those to which they send."""

from django.conf import settings
from django.utils.module_loading import autodiscover_modules


def import_actors() -> None:
    """Import what a worker imports."""
    autodiscover_modules(*getattr(settings, "DRAMATIQ_AUTODISCOVER_MODULES", ()))
