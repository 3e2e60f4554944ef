from django.apps import AppConfig
from django.core.signals import request_started
from django.db.backends.signals import connection_created
from django.utils.translation import gettext_lazy as _


class OutboxConfig(AppConfig):
    name = "actors.outbox"
    verbose_name = _("Outbox")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from actors.outbox import background, checks, groups  # noqa: PLC0415 – the models are loaded only now
        from actors.outbox.amqp.outage import log_outages_once  # noqa: PLC0415
        from actors.outbox.db import session  # noqa: PLC0415
        from actors.outbox.operations.stats import describe_backlog  # noqa: PLC0415

        connection_created.connect(session.configure, dispatch_uid="outbox-session")
        checks.register()
        groups.make_groups_atomic()
        log_outages_once(describe_backlog)

        # With a web process's first request: short management commands need no threads.
        request_started.connect(background.background_threads.start, dispatch_uid="outbox-background-threads")
