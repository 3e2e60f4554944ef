"""The outbox in Django's admin. Django imports this package, which registers messages and decisions."""

from actors.outbox.admin.decisions import DeadLetterDecisionAdmin
from actors.outbox.admin.messages import OutboxMessageAdmin

__all__ = ["DeadLetterDecisionAdmin", "OutboxMessageAdmin"]
