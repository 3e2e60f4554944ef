"""Imports all actors. A worker does so when it starts; any other process knows only the actors that it sends to."""

from django.conf import settings
from django.utils.module_loading import autodiscover_modules


def import_actors() -> None:
    """Import the modules of actors that a worker imports (`DRAMATIQ_AUTODISCOVER_MODULES`)."""
    autodiscover_modules(*getattr(settings, "DRAMATIQ_AUTODISCOVER_MODULES", ()))
