"""Decisions on messages in the admin, read-only. They outlive their messages."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars
from django.utils.translation import gettext_lazy as _

from actors.outbox.admin.bounded import FewValuesFilter
from actors.outbox.admin.read_only import ReadOnlyAdmin, text_column
from actors.outbox.models import DeadLetterDecision


@admin.register(DeadLetterDecision)
class DeadLetterDecisionAdmin(ReadOnlyAdmin[DeadLetterDecision]):
    list_display = ("decided_at", "decision", "decided_by", "short_why", "actor", "subject", "reason", "row_id")
    list_filter = ("decision", ("reason", FewValuesFilter), "decided_at")
    search_fields = ("=row_id", "=message_id", "actor", "subject", "decided_by", "why")
    ordering = ("-id",)
    fields = (
        *("decision", "decided_at", "decided_by", "decided_by_id", "why", "row_id", "message_id", "actor", "queue"),
        *("subject", "reason", "what_went_wrong", "message", "edited_message"),
    )
    what_went_wrong = text_column("error", _("error"))
    message = text_column("body", _("message"))
    edited_message = text_column("edited_body", _("sent in its place"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetterDecision]:
        return super().get_queryset(request).defer("body", "edited_body", "error")

    @admin.display(description=_("why"))
    def short_why(self, decision: DeadLetterDecision) -> str:
        return truncatechars(decision.why, 80)
