"""Imports all actors: in workers at their start, elsewhere only when checks, upkeep or dead letters need them."""

from django.conf import settings
from django.utils.module_loading import autodiscover_modules


def import_actors() -> None:
    """Import the modules of actors that a worker imports (`DRAMATIQ_AUTODISCOVER_MODULES`)."""
    autodiscover_modules(*getattr(settings, "DRAMATIQ_AUTODISCOVER_MODULES", ()))
