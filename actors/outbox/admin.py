"""The outbox in the admin: everything is shown, nothing is edited in place; dead letters are decided on.

Guarantee: what a message holds is shown as text, whoever wrote it; each decision is `deadletters`', with its reason.
"""

import json
from typing import Any, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from actors.outbox.dead_letters import decisions, payload
from actors.outbox.dead_letters.decisions import DecisionResult, Operator
from actors.outbox.dead_letters.payload import UnfitMessage
from actors.outbox.models import DeadLetterDecision, OutboxMessage, State
from actors.outbox.operations.cancel import cancel

MAX_SEARCH_LENGTH = 200
MAX_SHOWN = 100_000
MAX_CHOICES = 50
MAX_NAMED = 20


Row = TypeVar("Row", bound=models.Model)


class ReadOnlyAdmin(admin.ModelAdmin[Row]):
    """Shows rows to whoever may view them, and lets nobody add, change or delete any."""

    list_per_page = 50
    show_full_result_count = False
    change_form_template = "admin/outbox/change_form.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if any("\0" in value for _name, values in request.GET.lists() for value in values):
            # Django's own filters hand it on to PostgreSQL, which takes no NUL.
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        return super().get_search_results(request, queryset, search_term[:MAX_SEARCH_LENGTH])


class FewValuesFilter(admin.AllValuesFieldListFilter):
    """Offers some of a field's values: strangers may have made up many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lookup_choices = self.lookup_choices[:MAX_CHOICES]


class DecisionForm(forms.Form):
    """Asks why."""

    why = forms.CharField(
        label=_("Why"), max_length=2_000, widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})
    )
    seen_until = forms.DateTimeField(required=False, widget=forms.HiddenInput)
    """When the last of those died that were counted: what died since was not decided on."""


class EditForm(DecisionForm):
    """Asks for another message, and why."""

    message = forms.CharField(
        label=_("Message"),
        strip=False,
        widget=forms.Textarea(attrs={"rows": 16, "class": "vLargeTextField", "spellcheck": "false"}),
    )
    field_order = ("message", "why")

    def __init__(self, *args: Any, row: OutboxMessage, **kwargs: Any) -> None:
        fields = json.dumps(payload.fields_of(row), ensure_ascii=False).encode("utf-8", "backslashreplace")
        super().__init__(*args, **kwargs)
        self.initial["message"] = payload.legible(fields)
        self.row = row

    def clean_message(self) -> bytes:
        """Return the message as it will be sent."""
        try:
            return payload.edit(self.row, payload.parse(self.cleaned_data["message"]))
        except (ValueError, RecursionError, UnfitMessage) as error:
            raise ValidationError(str(error)) from error


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin[OutboxMessage]):
    list_display = ("id", "actor", "subject", "state", "reason", "died_at", "due_at", "queue", "published_at")
    list_display_links = ("id", "actor")
    list_filter = ("state", "reason", "queue", ("actor", FewValuesFilter), "died_at", "due_at")
    search_fields = ("=message_id", "actor", "queue", "subject", "error", "request_id", "changed_by")
    ordering = ("-id",)
    actions = ("replay_dead_letters", "discard_dead_letters", "cancel_messages")
    fieldsets = (
        (None, {"fields": ("state", "actor", "queue", "subject", "message_id", "message")}),
        (_("Why it is dead"), {"fields": ("reason", "what_went_wrong", "where_it_went_wrong", "decisions")}),
        (_("Times"), {"fields": ("created_at", "due_at", "published_at", "died_at", "held_until", "lease_until")}),
        (
            _("Origin and attempts"),
            {"fields": ("changed_by", "changed_by_id", "request_id", "dedupe_key", "attempt", "starts")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxMessage]:
        return super().get_queryset(request).defer("body", "error", "traceback")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Say who may decide on dead letters; the actions' `permissions` ask."""
        return request.user.has_perm("outbox.change_outboxmessage")

    def get_urls(self) -> list[URLPattern]:
        decisions = [
            path(f"<int:row_id>/{kind}/", self.admin_site.admin_view(view), name=f"outbox_outboxmessage_{kind}")
            for kind, view in (("replay", self.replay_view), ("edit", self.edit_view), ("discard", self.discard_view))
        ]
        return [*decisions, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"may_decide": self.has_decide_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description=_("message"))
    def message(self, row: OutboxMessage) -> str:
        return preformatted(payload.legible(bytes(row.body)))

    @admin.display(description=_("error"))
    def what_went_wrong(self, row: OutboxMessage) -> str:
        return preformatted(row.error)

    @admin.display(description=_("traceback"))
    def where_it_went_wrong(self, row: OutboxMessage) -> str:
        return preformatted(row.traceback)

    @admin.display(description=_("earlier decisions"))
    def decisions(self, row: OutboxMessage) -> str:
        found = DeadLetterDecision.objects.filter(row_id=row.pk).order_by("pk").defer("body", "edited_body")
        lines = (
            (
                reverse("admin:outbox_deadletterdecision_change", args=[one.pk]),
                one.get_decision_display(),
                one.decided_by,
                truncatechars(one.why, 200),
            )
            for one in found
        )
        return format_html_join("", '<div><a href="{}">{}</a>: {}, {}</div>', lines) or "-"

    @admin.action(description=_("Replay dead letters"), permissions=["decide"])
    def replay_dead_letters(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> HttpResponse | None:
        return self._decide_on_many(request, rows, "replay")

    @admin.action(description=_("Discard dead letters"), permissions=["decide"])
    def discard_dead_letters(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> HttpResponse | None:
        return self._decide_on_many(request, rows, "discard")

    @admin.action(description=_("Cancel messages"), permissions=["decide"])
    def cancel_messages(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> None:
        if count := cancel(rows):
            text = ngettext("%(count)d message was cancelled.", "%(count)d messages were cancelled.", count)
            self.message_user(request, text % {"count": count}, messages.SUCCESS)
        else:
            none = _("None of these can be cancelled: only what is not published yet can.")
            self.message_user(request, none, messages.WARNING)

    def replay_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        return self._decide_on_one(request, row_id, "replay")

    def edit_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        return self._decide_on_one(request, row_id, "edit")

    def discard_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        return self._decide_on_one(request, row_id, "discard")

    def _decide_on_many(self, request: HttpRequest, rows: QuerySet[OutboxMessage], kind: str) -> HttpResponse | None:
        dead = rows.filter(state=State.DEAD)
        form = DecisionForm(request.POST if "why" in request.POST else None)
        if form.is_valid():
            if seen_until := form.cleaned_data["seen_until"]:
                dead = dead.filter(died_at__lte=seen_until)
            self._flash(request, self._carry_out(request, dead, kind, form), kind)
            return None
        if not dead.exists():
            self.message_user(request, _("None of these is a dead letter."), messages.WARNING)
            return None
        if not form.is_bound:
            # Written out: a form shows times without their fractions.
            form.initial["seen_until"] = dead.aggregate(latest=Max("died_at"))["latest"].isoformat()
        hidden = [("action", request.POST["action"]), ("select_across", request.POST.get("select_across", "0"))]
        hidden += [(ACTION_CHECKBOX_NAME, chosen) for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME)]
        return self._ask(request, dead, kind, form, hidden)

    def _decide_on_one(self, request: HttpRequest, row_id: int, kind: str) -> HttpResponse:
        if not self.has_decide_permission(request):
            raise PermissionDenied
        rows = OutboxMessage.objects.filter(pk=row_id, state=State.DEAD)
        row = rows.first()
        if row is None:
            self.message_user(request, _("This is no dead letter, or is none any more."), messages.WARNING)
            return HttpResponseRedirect(reverse("admin:outbox_outboxmessage_changelist"))
        data = request.POST if request.method == "POST" else None
        form = EditForm(data, row=row) if kind == "edit" else DecisionForm(data)
        if form.is_valid():
            self._flash(request, self._carry_out(request, rows, kind, form), kind)
            return HttpResponseRedirect(reverse("admin:outbox_outboxmessage_changelist"))
        return self._ask(request, rows, kind, form, [])

    def _carry_out(
        self, request: HttpRequest, rows: QuerySet[OutboxMessage], kind: str, form: DecisionForm
    ) -> DecisionResult:
        by = Operator(name=request.user.get_username(), user_id=request.user.pk)
        why = form.cleaned_data["why"]
        if kind == "discard":
            return decisions.discard(rows, by=by, why=why)
        return decisions.replay(rows, by=by, why=why, body=form.cleaned_data.get("message"))

    def _ask(
        self,
        request: HttpRequest,
        rows: QuerySet[OutboxMessage],
        kind: str,
        form: DecisionForm,
        hidden: list[tuple[str, str]],
    ) -> HttpResponse:
        title = {
            "replay": _("Replay dead letters"),
            "edit": _("Edit and replay a dead letter"),
            "discard": _("Discard dead letters"),
        }[kind]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "kind": kind,
            "form": form,
            "hidden": hidden,
            "count": rows.count(),
            "rows": rows.order_by("-died_at", "-pk")[:MAX_NAMED],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/outbox/decide.html", context)

    def _flash(self, request: HttpRequest, decided: DecisionResult, kind: str) -> None:
        done = len(decided.decisions)
        if kind == "discard":
            text = ngettext("%(count)d dead letter was discarded.", "%(count)d dead letters were discarded.", done)
        else:
            text = ngettext("%(count)d dead letter was replayed.", "%(count)d dead letters were replayed.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS if done else messages.WARNING)
        for row_id, problem in list(decided.refused.items())[:MAX_NAMED]:
            refusal = _("%(id)d stays dead, because it would only die again: %(problem)s")
            self.message_user(request, refusal % {"id": row_id, "problem": problem}, messages.ERROR)


@admin.register(DeadLetterDecision)
class DeadLetterDecisionAdmin(ReadOnlyAdmin[DeadLetterDecision]):
    list_display = ("decided_at", "decision", "decided_by", "short_why", "actor", "subject", "reason", "row_id")
    list_filter = ("decision", "reason", "decided_at")
    search_fields = ("=row_id", "=message_id", "actor", "subject", "decided_by", "why")
    ordering = ("-id",)
    fields = (
        "decision",
        "decided_at",
        "decided_by",
        "decided_by_id",
        "why",
        "row_id",
        "message_id",
        "actor",
        "queue",
        "subject",
        "reason",
        "what_went_wrong",
        "message",
        "edited_message",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetterDecision]:
        return super().get_queryset(request).defer("body", "edited_body", "error")

    @admin.display(description=_("why"))
    def short_why(self, decision: DeadLetterDecision) -> str:
        return truncatechars(decision.why, 80)

    @admin.display(description=_("error"))
    def what_went_wrong(self, decision: DeadLetterDecision) -> str:
        return preformatted(decision.error)

    @admin.display(description=_("message"))
    def message(self, decision: DeadLetterDecision) -> str:
        return preformatted(payload.legible(bytes(decision.body)))

    @admin.display(description=_("sent in its place"))
    def edited_message(self, decision: DeadLetterDecision) -> str:
        return "-" if decision.edited_body is None else preformatted(payload.legible(bytes(decision.edited_body)))


def preformatted(text: str) -> str:
    """Return a text as the admin shows it: as it is, escaped, its beginning if it is very long."""
    if not text:
        return "-"
    shown = truncatechars(text, MAX_SHOWN)
    return format_html('<pre style="margin: 0; white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', shown)
