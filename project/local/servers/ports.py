"""Finds TCP ports on 127.0.0.1 for the private servers.

A port found here was free a moment ago, lies below the range the kernel hands out to outgoing connections, and is
given only once per process.
"""

import random
import socket
from pathlib import Path

from project.local.servers.errors import ServerError

LOOPBACK = "127.0.0.1"
MAX_PORT = 65_535
FIRST_OPEN_PORT = 1024  # those below are root's
LOWEST_PORT = 10_000
DEFAULT_EPHEMERAL_START = 32_768

_given: set[int] = set()


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port`; one that only lingers in TIME_WAIT is free.

    Raises:
        ServerError: this user may not listen on it, whether it is free or not.
    """
    return _can_bind(port) and not _answers(port)


def free_port() -> int:
    """Return a free port that this process has not been given before.

    The kernel's own choice (bind to port 0) is avoided on purpose: while a server restarts, a client that keeps
    reconnecting to such a port can be given that very port as its own end, connect to itself, and block the server.

    Raises:
        ServerError: no port is free.
    """
    candidates = [port for port in range(LOWEST_PORT, _ephemeral_start()) if port not in _given]
    random.shuffle(candidates)
    for port in candidates:
        if is_free(port):
            _given.add(port)
            return port
    raise ServerError(f"No free TCP port on {LOOPBACK} between {LOWEST_PORT} and {_ephemeral_start()}.")


def first_free_port(preferred: int, *, tries: int = 20) -> int:
    """Return `preferred`, or the first free port among the `tries` ports that start with it.

    Raises:
        ServerError: all of them are in use.
    """
    last = min(preferred + tries - 1, MAX_PORT)
    for port in range(preferred, last + 1):
        if is_free(port):
            return port
    raise ServerError(f"The ports {preferred} to {last} on {LOOPBACK} are all in use: stop one of their users.")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise ServerError(f"Port {port}: permission denied. Choose one from {FIRST_OPEN_PORT} on.") from None
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    # Where a listener on 0.0.0.0 does not prevent a bind to 127.0.0.1 (macOS), only a connection shows it.
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _ephemeral_start() -> int:
    try:
        start = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return DEFAULT_EPHEMERAL_START
    return start if start > LOWEST_PORT + 1000 else DEFAULT_EPHEMERAL_START
