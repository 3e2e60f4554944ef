"""Django looks for models here."""

from project.accounts.login_limits import LoginLimit

__all__ = ["LoginLimit"]
