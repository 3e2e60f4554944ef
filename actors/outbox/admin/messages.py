"""Outbox messages in the admin, read-only but for actions: cancel unpublished messages, decide on dead letters.

Guarantee: each decision is made by `dead_letters.decisions` or `operations.cancel`, with the operator's reason.
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

from actors.outbox.admin.bounded import FewValuesFilter
from actors.outbox.admin.forms import DecisionForm, EditForm
from actors.outbox.admin.read_only import ReadOnlyAdmin, text_column
from actors.outbox.dead_letters import decisions
from actors.outbox.models import AWAITING, DeadLetterDecision, Operator, OutboxMessage, State
from actors.outbox.operations.cancel import cancel

MAX_NAMED = 20
NOTHING_LEFT = _("None of these can be cancelled: only what is not published yet can.")
NOTHING_DEAD = _("None of these is a dead letter.")
TITLES = {
    "replay": _("Replay dead letters"),
    "edit": _("Edit and replay a dead letter"),
    "discard": _("Discard dead letters"),
    "cancel": _("Cancel messages"),
}
PERMISSIONS = {"replay": "replay", "edit": "replay", "discard": "discard", "cancel": "cancel"}
# What can be decided on, and the time by which the operator has seen it.
UNPUBLISHED, DEAD = ("created_at", AWAITING), ("died_at", (State.DEAD,))


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin[OutboxMessage]):
    list_display = ("id", "actor", "subject", "state", "reason", "died_at", "due_at", "queue", "published_at")
    list_display_links = ("id", "actor")
    list_filter = (
        "state",
        *((name, FewValuesFilter) for name in ("reason", "queue", "actor")),
        *("died_at", "due_at"),
    )
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

    message = text_column("body", _("message"))
    what_went_wrong = text_column("error", _("error"))
    where_it_went_wrong = text_column("traceback", _("traceback"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxMessage]:
        return super().get_queryset(request).defer("body", "error", "traceback")

    def may(self, request: HttpRequest, kind: str) -> bool:
        """Return whether the user may decide so: by the permission for it, or by the one to change messages."""
        names = (PERMISSIONS[kind], "change")
        return any(request.user.has_perm(f"outbox.{name}_outboxmessage") for name in names)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may replay dead letters. Django asks, for actions with permission "replay"."""
        return self.may(request, "replay")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "discard")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "cancel")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        decisions = [
            path(f"<int:row_id>/{kind}/", view, {"kind": kind}, name=f"outbox_outboxmessage_{kind}")
            for kind in ("replay", "edit", "discard")
        ]
        return [*decisions, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        allowed = {f"may_{kind}": self.may(request, kind) for kind in ("replay", "discard")}
        context = {**allowed, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

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

    @admin.action(description=TITLES["replay"], permissions=["replay"])
    def replay_dead_letters(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> HttpResponse | None:
        return self._decide_on_many(request, rows, "replay")

    @admin.action(description=TITLES["discard"], permissions=["discard"])
    def discard_dead_letters(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> HttpResponse | None:
        return self._decide_on_many(request, rows, "discard")

    @admin.action(description=TITLES["cancel"], permissions=["cancel"])
    def cancel_messages(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> HttpResponse | None:
        return self._decide_on_many(request, rows, "cancel")

    def decide_view(self, request: HttpRequest, row_id: int, kind: str) -> HttpResponse:
        """Ask for the decision on one dead letter, and carry it out."""
        if not self.may(request, kind):
            raise PermissionDenied
        rows = OutboxMessage.objects.filter(pk=row_id, state=State.DEAD)
        row = rows.first()
        if row is None:
            self.message_user(request, _("This is no dead letter, or is none any more."), messages.WARNING)
            return HttpResponseRedirect(reverse("admin:outbox_outboxmessage_changelist"))
        data = request.POST if request.method == "POST" else None
        form = EditForm(data, row=row) if kind == "edit" else DecisionForm(data)
        if form.is_valid():
            self._carry_out(request, rows, kind, form)
            return HttpResponseRedirect(reverse("admin:outbox_outboxmessage_changelist"))
        return self._ask(request, rows, kind, form, [])

    def _decide_on_many(self, request: HttpRequest, rows: QuerySet[OutboxMessage], kind: str) -> HttpResponse | None:
        seen_at, states = UNPUBLISHED if kind == "cancel" else DEAD
        rows = rows.filter(state__in=states)
        form = DecisionForm(request.POST if "why" in request.POST else None)
        if form.is_valid():
            if seen_until := form.cleaned_data["seen_until"]:
                rows = rows.filter(**{f"{seen_at}__lte": seen_until})
            self._carry_out(request, rows, kind, form)
            return None
        if not rows.exists():
            self.message_user(request, NOTHING_LEFT if kind == "cancel" else NOTHING_DEAD, messages.WARNING)
            return None
        if not form.is_bound:
            # As text, because a form's widget drops the fraction of a second.
            form.initial["seen_until"] = rows.aggregate(latest=Max(seen_at))["latest"].isoformat()
        hidden = [("action", request.POST["action"]), ("select_across", request.POST.get("select_across", "0"))]
        hidden += [(ACTION_CHECKBOX_NAME, chosen) for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME)]
        return self._ask(request, rows, kind, form, hidden)

    def _carry_out(self, request: HttpRequest, rows: QuerySet[OutboxMessage], kind: str, form: DecisionForm) -> None:
        by = Operator(name=request.user.get_username(), user_id=request.user.pk)
        why = form.cleaned_data["why"]
        if kind == "cancel":
            count = cancel(rows, by=by, why=why)
            text = ngettext("%(count)d message was cancelled.", "%(count)d messages were cancelled.", count)
            self.message_user(request, text % {"count": count}, messages.SUCCESS if count else messages.WARNING)
            return
        if kind == "discard":
            decided = decisions.discard(rows, by=by, why=why)
            count = len(decided.decisions)
            text = ngettext("%(count)d dead letter was discarded.", "%(count)d dead letters were discarded.", count)
        else:
            decided = decisions.replay(rows, by=by, why=why, body=form.cleaned_data.get("message"))
            count = len(decided.decisions)
            text = ngettext("%(count)d dead letter was replayed.", "%(count)d dead letters were replayed.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS if count else messages.WARNING)
        for row_id, problem in list(decided.refused.items())[:MAX_NAMED]:
            refusal = _("%(id)d stays dead, because it would only die again: %(problem)s")
            self.message_user(request, refusal % {"id": row_id, "problem": problem}, messages.ERROR)

    def _ask(
        self,
        request: HttpRequest,
        rows: QuerySet[OutboxMessage],
        kind: str,
        form: DecisionForm,
        hidden: list[tuple[str, str]],
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": TITLES[kind],
            "kind": kind,
            "form": form,
            "hidden": hidden,
            "count": rows.count(),
            "rows": rows.order_by("-died_at", "-pk")[:MAX_NAMED],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/outbox/decide.html", context)
