"""Errors of private servers. Every message is one line: what is wrong, and what to do about it."""


class ServerError(Exception):
    """Root of all errors raised by `project.local.servers`."""


class ServerUnavailable(ServerError):
    """Raised when a server can be neither found nor fetched."""


class ServerFailedToStart(ServerError):
    """Raised when a server was found but did not become ready."""


class ServerCommandFailed(ServerError):
    """Raised when an administrative command, such as `rabbitmqctl`, exits with an error."""
