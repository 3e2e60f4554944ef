"""A TCP proxy between the service and one of its servers, which can turn into a black hole or lose an answer.

As a black hole it accepts connections and bytes and answers nothing, like a network that has lost its other end: no
connection is refused or closed. An answer is lost by cutting the connection between a request's effect and its reply.
"""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from project.local.servers.ports import LOOPBACK, free_port

CHUNK_BYTES = 64 * 1024
POLL_SECONDS = 0.2


class Proxy:
    """Forwards every connection to its `port` to another port of this machine."""

    def __init__(self, *, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._forwards = threading.Event()
        self._forwards.set()
        self.loses_answer_to: Callable[[bytes], bool] = lambda request: False
        """Called with each chunk that a client sends; if it returns True, the server acts on it, its answer is lost."""
        self.lost_answers = 0
        self._stopping = threading.Event()
        self._listener = socket.create_server((LOOPBACK, self.port), backlog=128)
        self._listener.settimeout(POLL_SECONDS)
        self._thread = threading.Thread(target=self._accept, name="chaos-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._forwards.set()
        self._thread.join()
        self._listener.close()

    def black_hole(self) -> None:
        """Lose every byte from now on; connections stay open."""
        self._forwards.clear()

    def forward(self) -> None:
        """Forward everything again, also the bytes that were held back."""
        self._forwards.set()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self._forwards.wait()
            with socket.create_connection((LOOPBACK, self._target_port), timeout=30) as server:
                self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        peers = {client: server, server: client}
        with selectors.DefaultSelector() as selector:
            for peer in peers:
                selector.register(peer, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(POLL_SECONDS):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    chunk = source.recv(CHUNK_BYTES)
                    self._forwards.wait()
                    if not chunk:
                        return
                    peers[source].sendall(chunk)
                    if source is client and self.loses_answer_to(chunk):
                        server.recv(CHUNK_BYTES)  # it is done
                        self.lost_answers += 1
                        return
