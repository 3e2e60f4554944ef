"""`manage.py outbox status`: what is on its way, and how long it has been."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Count, Min

from actors.outbox.models import OutboxMessage, State


class Command(BaseCommand):
    help = "Tells how many messages are in which state, and since when the oldest is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=("status",))

    def handle(self, *args: Any, **options: Any) -> None:
        found = {
            row["state"]: row
            for row in OutboxMessage.objects.values("state").annotate(count=Count("pk"), oldest=Min("created_at"))
        }
        for state in State:
            row = found.get(state.value, {"count": 0, "oldest": None})
            since = f"  oldest {row['oldest']:%Y-%m-%d %H:%M:%S %Z}" if row["oldest"] else ""
            self.stdout.write(f"{state.value:<10} {row['count']:>8}{since}")
