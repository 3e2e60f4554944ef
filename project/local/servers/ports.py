"""Finds free TCP ports on 127.0.0.1 for the private servers, and checks which ports have a listener.

A port from here was free a moment ago, lies below the range from which the kernel takes ports of outgoing connections,
and is returned only once per process.
"""

import http.client
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
    """Return whether a server could listen on `port`; a port that only lingers in TIME_WAIT is free.

    Raises:
        ServerError: this user may not listen on it, whether it is free or not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise ServerError(f"Port {port}: permission denied. Choose one from {FIRST_OPEN_PORT} on.") from None
        except OSError:
            return False
    # On macOS a listener on 0.0.0.0 does not prevent a bind to 127.0.0.1: only a connection shows it.
    return not listens(LOOPBACK, port)


def listens(host: str, port: int) -> bool:
    """Return whether a connection to `port` of `host` is accepted."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def answers_http(port: int, path: str = "/") -> bool:
    """Return whether an HTTP server on 127.0.0.1 answers, with any status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def free_port() -> int:
    """Return a free port that was not returned before in this process.

    The kernel's own choice (bind to port 0) is avoided on purpose: while a server restarts, a client that keeps
    reconnecting to such a port can get the same port as its own end, connect to itself, and block the server.

    Raises:
        ServerError: no port is free.
    """
    end = _ephemeral_start()
    for port in random.sample(range(LOWEST_PORT, end), end - LOWEST_PORT):
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise ServerError(f"No free TCP port on {LOOPBACK} between {LOWEST_PORT} and {end}.")


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


def _ephemeral_start() -> int:
    try:
        start = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return DEFAULT_EPHEMERAL_START
    return start if start > LOWEST_PORT + 1000 else DEFAULT_EPHEMERAL_START
