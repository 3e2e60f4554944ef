"""The tables of this application, each defined where it is used; Django looks for them here."""

from project.accounts.login_limits import LoginLimit
from project.accounts.security_events import SecurityEvent
from project.accounts.tokens.families import TokenFamily

__all__ = ["LoginLimit", "SecurityEvent", "TokenFamily"]
