from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "project.accounts"

    def ready(self) -> None:
        from project.accounts.security_signals import connect_signals

        connect_signals()
