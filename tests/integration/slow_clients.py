"""Clients that send or read as slowly as they can, from an address of their own."""

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self

from project.local.servers.ports import LOOPBACK

ADDRESS = "127.0.0.2"
TICK_SECONDS = 1.0
READ_BYTES = 100
TICKS_PER_BYTE = 5


class SlowClients:
    """So many connections, which drip: they send a byte every five seconds, or read 100 bytes a second.

    One that the server ends is opened again, as an attacker would.
    """

    def __init__(
        self,
        port: int,
        count: int,
        *requests: bytes,
        drips: bool = False,
        reads: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._port, self._requests, self._drips, self._reads, self._tls = port, requests, drips, reads, tls
        self._sockets = [self._open(number) for number in range(count)]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="slow-clients")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _open(self, number: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.bind((ADDRESS, 0))
        client.settimeout(30)
        client.connect((LOOPBACK, self._port))
        if self._tls is not None:
            client = self._tls.wrap_socket(client)
        client.sendall(self._requests[number % len(self._requests)])
        client.setblocking(False)
        return client

    def _go_on(self) -> None:
        ticks = 0
        while not self._ends.wait(TICK_SECONDS):
            ticks += 1
            for number, client in enumerate(self._sockets):
                if not self._act(client, sends=self._drips and ticks % TICKS_PER_BYTE == 0):
                    client.close()
                    with suppress(OSError):
                        self._sockets[number] = self._open(number)

    def _act(self, client: socket.socket, *, sends: bool) -> bool:
        """Return whether the connection is still open."""
        try:
            if sends:
                client.send(b"x")
            return bool(client.recv(READ_BYTES if self._reads else 1))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
