"""The lesson's signals: a new task's line is background work, those of updates and deletions are written here."""

import logging
from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from bench.peers.models import Task
from bench.peers.sending import sender

logger = logging.getLogger("bench.peers")


@receiver(post_save, sender=Task)
def on_save(instance: Task, created: bool, **kwargs: Any) -> None:
    if created:
        sender()(instance.pk, instance.title, instance.owner.username)
    else:
        logger.info("Vazifa yangilandi: %s (ID: %s, Owner: %s)", instance.title, instance.pk, instance.owner.username)


@receiver(post_delete, sender=Task)
def on_delete(instance: Task, **kwargs: Any) -> None:
    logger.info("Vazifa o'chirildi: %s (ID: %s, Owner: %s)", instance.title, instance.pk, instance.owner.username)
