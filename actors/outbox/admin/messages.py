"""Outbox messages in the admin, read-only but for actions: cancel unpublished messages, decide on dead letters.

Guarantee: each decision is made by `dead_letters.decisions`, with the operator's reason.
"""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from actors.outbox.admin.forms import DecisionForm, EditForm
from actors.outbox.admin.read_only import FewValuesFilter, ReadOnlyAdmin, preformatted
from actors.outbox.dead_letters import decisions, payload
from actors.outbox.dead_letters.decisions import DecisionResult, Operator
from actors.outbox.models import DeadLetterDecision, OutboxMessage, State
from actors.outbox.operations.cancel import cancel

MAX_NAMED = 20


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
        """Return whether the user may decide on dead letters. Django calls it for actions with permission "decide"."""
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
            # As text, because a form's widget drops the fraction of a second.
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
