"""Both ends of real connections, for the web server's tests."""

import socket
from typing import Any

from project.web_server.arrival import Arrival
from project.web_server.client_socket import ClientSocket


def connected(buffer: int = 4_096) -> tuple[socket.socket, ClientSocket]:
    """Return a client's and the server's end, whose kernels keep little that is not read or sent."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(10)
        client.connect(listener.getsockname())
        return client, ClientSocket.of(listener.accept()[0])


def read(client: socket.socket) -> bytes:
    """Return what comes until the server hangs up."""
    return b"".join(iter(lambda: client.recv(65_536), b""))


class Connection:
    """A connection without gunicorn."""

    def __init__(self, sock: Any, *, max_body: int = 10**6) -> None:
        self.sock = sock
        self.arrival = Arrival(max_body=max_body)
