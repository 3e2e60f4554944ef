"""The tables of this application, each defined where it is used; Django looks for them here."""

from project.accounts.login_limits import LoginLimit
from project.accounts.tokens.families import TokenFamily

__all__ = ["LoginLimit", "TokenFamily"]
