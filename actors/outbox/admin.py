"""The outbox in the admin: everything is shown, nothing is edited in place; dead letters are decided on.

Guarantee: what a message holds is shown as text, whoever wrote it; each decision is `deadletters`', with its reason.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
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

from actors.outbox import deadletters
from actors.outbox.deadletters import Decided, Decider, UnfitMessage
from actors.outbox.models import DeadLetterDecision, OutboxMessage, State

LONGEST_SEARCH = 200
LONGEST_SHOWN = 100_000
MOST_CHOICES = 50
MOST_NAMED = 20


class ReadOnlyAdmin[Row: models.Model](admin.ModelAdmin[Row]):
    """Shows rows to whoever may view them, and lets nobody add, change or delete any."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        return super().get_search_results(request, queryset, search_term[:LONGEST_SEARCH])
