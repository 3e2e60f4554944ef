"""The rows of a queue, counted as Dramatiq's StubBroker counts the messages in its queues."""

from datetime import timedelta
from typing import TYPE_CHECKING

from dramatiq.common import q_name

if TYPE_CHECKING:
    from actors.outbox.models import OutboxMessageQuerySet


class RowQueue:
    """A queue, or the delay queue of one, with the methods of a `queue.Queue` that tests ask."""

    def __init__(self, name: str) -> None:
        """Look at a queue's rows.

        Args:
            name: the queue's name; with the suffix of delay queues, `.DQ`, its messages that are not due yet.
        """
        self.name = name

    def qsize(self) -> int:
        """Return how many messages are waiting, not counting those that a worker has taken."""
        return self.waiting().count()

    def empty(self) -> bool:
        """Return whether no message is waiting."""
        return not self.waiting().exists()

    @property
    def queue(self) -> list[bytes]:
        """The encoded messages that are waiting, the longest due first."""
        return [bytes(body) for body in self.waiting().values_list("body", flat=True)]

    @property
    def unfinished_tasks(self) -> int:
        """How many messages are waiting or taken by a worker."""
        return self.unfinished().count()

    def waiting(self) -> "OutboxMessageQuerySet":
        """Return the rows that are to be published."""
        from actors.outbox.models import AWAITING  # noqa: PLC0415 – queues are declared before the models are loaded

        return self.unfinished().filter(state__in=AWAITING)

    def unfinished(self) -> "OutboxMessageQuerySet":
        """Return the rows whose work is owed, the longest due first."""
        from django.db.models.functions import Now  # noqa: PLC0415 – as above

        from actors.outbox.models import AWAITING, OutboxMessage, State  # noqa: PLC0415

        rows = OutboxMessage.objects.filter(queue=q_name(self.name)).exclude(state=State.DEAD).order_by("due_at", "id")
        not_due = {"state__in": AWAITING, "due_at__gt": Now() + timedelta()}  # the sum as in `relay.ready_rows`
        return rows.exclude(**not_due) if self.name == q_name(self.name) else rows.filter(**not_due)
