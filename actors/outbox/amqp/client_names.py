"""Names for this process's connections, as RabbitMQ's management UI shows them to operators."""

import copy
import os
import random
import socket
from collections.abc import Sequence
from typing import Any

from actors.outbox.conf import conf


def process_name(role: str) -> str:
    """Return this process's name in a role, such as `vazifa worker web-1 pid=42`."""
    return f"{conf.OUTBOX_APPLICATION} {role} {socket.gethostname()} pid={os.getpid()}"


def with_connection_name(addresses: Sequence[Any], name: str) -> list[Any]:
    """Return copies of pika's connection parameters, in random order, with `name` as the connection's name.

    The order spreads connections over a cluster's nodes; of all processes only some first try one that is lost.
    """
    named = [copy.copy(each) for each in random.sample(addresses, len(addresses))]
    for each in named:
        each.client_properties = {**(each.client_properties or {}), "connection_name": name}
    return named
