"""The outbox's exceptions."""


class OutboxError(Exception):
    """Base class of the errors that the outbox raises."""


class NotSupported(OutboxError):
    """Raised by a send that the outbox cannot guarantee: a manual transaction, a priority, an eta, group callbacks."""


class LeaveForRedelivery(BaseException):
    """Raised when a message's outcome cannot be written: it is neither acknowledged nor failed, and is redelivered.

    Not an Exception: no middleware may mistake it for an actor's failure.
    """
