"""`manage.py prune_security_events`: deletes security events that are older than `SECURITY_EVENT_DAYS`."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from project.accounts.security_events import SecurityEvent, prune


class Command(BaseCommand):
    help = "Deletes old security events; it may be interrupted and run again at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        before = timezone.now() - timedelta(days=settings.SECURITY_EVENT_DAYS)
        deleted = 0
        while count := prune(before):
            deleted += count
        self.stdout.write(f"{deleted} security events deleted, {SecurityEvent.objects.count()} kept.")
