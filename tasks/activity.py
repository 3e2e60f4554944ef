"""The actors that change tasks. Run by `manage.py rundramatiq`.

Guarantee: a run's changes commit with the message that continues them, so a job goes on where it was after a crash.
"""

import logging

import dramatiq
from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.db.models import CharField, OuterRef, QuerySet, Value
from django.db.models.functions import Cast, Concat

from actors.activity import MASS_QUEUE, TIME_LIMIT_MS
from actors.outbox.models import OutboxMessage, State
from tasks.user_deletion import UserIsActive, deactivate, delete_some

logger = logging.getLogger(__name__)

USER = "user:"
"""The subject of a message about a user is this and the user's id."""


@dramatiq.actor(queue_name=MASS_QUEUE, time_limit=TIME_LIMIT_MS)
def delete_user(user_id: int) -> None:
    """Delete some of a user's tasks, and send this job again until the user is deleted with the last of them."""
    try:
        if delete_some(user_id):
            _send(user_id)
    except UserIsActive as error:
        logger.warning("deletion stopped user=%s: %s", user_id, error)


def start_deletion(user: AbstractUser) -> None:
    """Deactivate a user and let the workers delete them, with all of their tasks; a second start changes nothing."""
    with transaction.atomic():
        if type(user)._default_manager.select_for_update().filter(pk=user.pk).first():  # else a worker was faster
            deactivate(user)
            _send(user.pk)


def stop_deletion(user: AbstractUser) -> None:
    """Drop the message of a user's deletion, so that it does not go on if they are deactivated for another reason.

    Called once the user is active. A run keeps its message locked, and finds the user active; a dead letter stays.
    """
    with transaction.atomic():
        waiting = deletions(Value(user.pk)).exclude(state=State.DEAD).select_for_update(skip_locked=True)
        OutboxMessage.objects.filter(pk__in=waiting.values("pk")).delete()


def deletions(user_id: OuterRef | Value) -> QuerySet[OutboxMessage]:
    """Return the messages of a user's deletion, the latest first; after its end there is none."""
    subject = Concat(Value(USER), Cast(user_id, CharField()))
    of_user = OutboxMessage.objects.filter(actor=delete_user.actor_name, subject=subject)
    return of_user.exclude(subject="").order_by("-pk")  # what the index of subjects leaves out


def _send(user_id: int) -> None:
    subject = f"{USER}{user_id}"
    delete_user.send_with_options(args=(user_id,), subject=subject, dedupe_key=f"delete {subject}")
