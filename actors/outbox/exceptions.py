"""The outbox's exceptions."""


class OutboxError(Exception):
    """Base class of the errors that the outbox raises."""


class NotSupported(OutboxError):
    """Raised by what the outbox cannot guarantee: sends with some options, actors of some kinds, a flush of a queue."""


class AccessRefused(Exception):
    """Raised when a server cannot be used. The message is one line: what is refused, and what to do."""

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final
        """Whether waiting cannot help: the server has answered, and refuses."""


class ConnectionOfTestCaseClosed(OutboxError):
    """Raised when the connection of a test case's transaction is lost: no other can take its place."""


class LeaveForRedelivery(BaseException):
    """Raised when a message's outcome cannot be written: it is neither acknowledged nor failed, and is redelivered.

    Not an Exception: no middleware may mistake it for an actor's failure.
    """
