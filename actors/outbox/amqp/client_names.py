"""What the connections of this process are called, for whoever watches RabbitMQ's management UI."""

import copy
import os
import socket
from typing import Any

from actors.outbox.conf import application


def process_name(role: str) -> str:
    """Return what this process is called in a role, such as `vazifa worker web-1 pid=42`."""
    return f"{application()} {role} {socket.gethostname()} pid={os.getpid()}"


def with_connection_name(parameters: Any, name: str) -> Any:
    """Return copies of pika's connection parameters, one or several of them, under which a connection has `name`."""
    if isinstance(parameters, list):
        return [with_connection_name(each, name) for each in parameters]
    named = copy.copy(parameters)
    named.client_properties = {**(parameters.client_properties or {}), "connection_name": name}
    return named
