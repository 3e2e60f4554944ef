"""Security events in the admin, read-only. Accounts that failed to sign in were typed by strangers: text, escaped."""

from django.contrib import admin

from actors.outbox.admin.bounded import FewValuesFilter
from actors.outbox.admin.read_only import ReadOnlyAdmin
from project.accounts.security_events import SecurityEvent


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnlyAdmin[SecurityEvent]):
    list_display = ("at", "kind", "account", "by", "address", "detail")
    list_filter = ("kind", "at", ("account", FewValuesFilter), ("address", FewValuesFilter))
    search_fields = ("account", "by", "=address", "=user_id", "=request_id")
    ordering = ("-id",)
    fields = ("at", "kind", "account", "user_id", "by", "by_id", "address", "request_id", "detail")
