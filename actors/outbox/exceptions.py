"""What can go wrong with the outbox."""


class OutboxError(Exception):
    """Root of all errors raised by the outbox."""


class NotSupported(OutboxError):
    """Raised for what could not be kept as promised: manual transactions, priorities, group callbacks."""


class LeaveForRedelivery(BaseException):
    """Raised when a message cannot be settled and must stay RabbitMQ's: it is neither acknowledged nor failed.

    No Exception, so that no middleware takes it for an actor's failure.
    """
