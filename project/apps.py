from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "project"

    def ready(self) -> None:
        from django.core import checks

        from project import db_health, db_time_limit, private_files
        from project.api import schema  # noqa: F401 – drf-spectacular finds extensions that are imported
        from project.checks import check_proxies, check_throttles
        from project.releases.schema import check_migrations

        db_health.connect_signals()
        db_time_limit.connect_signals()
        private_files.connect_signals()
        checks.register(check_throttles)
        checks.register(check_proxies)
        checks.register(check_migrations, checks.Tags.database)
