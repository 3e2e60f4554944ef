from typing import Any

from django.apps import AppConfig
from django.core.signals import request_started
from django.utils.translation import gettext_lazy as _


class OutboxConfig(AppConfig):
    name = "actors.outbox"
    verbose_name = _("Outbox")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from actors.outbox import checks
        from actors.outbox import groups as composition

        checks.register()
        composition.make_groups_atomic()
        request_started.connect(_start_relay, dispatch_uid="outbox-relay")


def _start_relay(**kwargs: Any) -> None:
    """Start the relay with a web process's first request: short commands need none."""
    from actors.outbox.relay.thread import process_relay

    process_relay.start()
