"""`manage.py clean_idempotency_keys`: deletes expired idempotency keys, whose responses are not replayed any more."""

from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm

from tasks.idempotency import expired
from tasks.models import IdempotencyKey

BATCH = 1_000


class Command(BaseCommand):
    help = "Deletes idempotency keys older than IDEMPOTENCY_HOURS; it may be interrupted and run again at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = 0
        with tqdm(total=expired().count(), desc="keys", disable=None, leave=False) as bar:
            while ids := list(expired().values_list("pk", flat=True)[:BATCH]):
                count, _by_model = IdempotencyKey.objects.filter(pk__in=ids).delete()
                deleted += count
                bar.update(count)
        self.stdout.write(f"{deleted} keys deleted, {IdempotencyKey.objects.count()} kept.")
