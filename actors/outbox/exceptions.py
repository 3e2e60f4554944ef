"""The outbox's exceptions."""


class OutboxError(Exception):
    """Base of the errors that the outbox raises."""


class NotSupported(OutboxError):
    """Raised at a send that the outbox could not guarantee: manual transactions, priorities, group callbacks."""


class LeaveForRedelivery(BaseException):
    """Raised when a message's outcome cannot be written: it is neither acknowledged nor failed, and is redelivered.

    Not an Exception, so that no middleware takes it for an actor's failure.
    """
