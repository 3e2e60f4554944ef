"""Names for this process's connections, as RabbitMQ's management UI shows them to operators."""

import copy
import os
import socket
from typing import Any

from actors.outbox.conf import conf


def process_name(role: str) -> str:
    """Return this process's name in a role, such as `vazifa worker web-1 pid=42`."""
    return f"{conf.OUTBOX_APPLICATION} {role} {socket.gethostname()} pid={os.getpid()}"


def with_connection_name(parameters: Any, name: str) -> Any:
    """Return a copy of pika's connection parameters with `name` as the connection's name."""
    named = copy.copy(parameters)
    named.client_properties = {**(parameters.client_properties or {}), "connection_name": name}
    return named
