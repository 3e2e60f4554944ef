from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "project"

    def ready(self) -> None:
        from project import schema  # noqa: F401 – drf-spectacular knows what is imported
        from project.connections import connect_signals

        connect_signals()
