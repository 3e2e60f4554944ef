"""A response that its client does not read is held, and only one that is generated waits for its client."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from gunicorn import util

from project.web_server import client_socket
from project.web_server.client_socket import ANSWER_GRACE_SECONDS, ClientSocket, ClientTooSlow
from project.web_server.pace import MIN_BYTES_PER_SECOND
from tests.unit.project.web_server.connections import connected, read

LARGE = os.urandom(1_000_000)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, ClientSocket]]:
    client, server = connected()
    with client, server:
        yield client, server


def push_all(server: ClientSocket) -> None:
    while not server.push():
        pass
    server.shutdown(socket.SHUT_WR)


def test_a_large_response_is_held_and_arrives_whole(ends: tuple[socket.socket, ClientSocket]) -> None:
    client, server = ends
    server.send_with_next(b"head")
    server.send_or_hold(LARGE)
    server.send_or_hold(b"tail")
    assert 0 < server.held_bytes <= len(LARGE) + 4

    threading.Thread(target=push_all, args=(server,)).start()

    assert read(client) == b"head" + LARGE + b"tail"
    assert not server.held
    assert server.held_bytes == 0


def test_a_file_is_sent_after_it_was_closed(ends: tuple[socket.socket, ClientSocket], tmp_path: Path) -> None:
    client, server = ends
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    server.send_with_next(b"head")
    with path.open("rb") as file:
        server.sendfile(file, 10, 900_000)
    assert server.held
    assert server.held_bytes == 0, "a file needs no memory"

    threading.Thread(target=push_all, args=(server,)).start()

    assert read(client) == b"head" + LARGE[10:900_010]


def test_a_file_that_becomes_shorter_does_not_keep_the_loop_busy(
    ends: tuple[socket.socket, ClientSocket], tmp_path: Path
) -> None:
    _client, server = ends
    path = tmp_path / "file"
    path.write_bytes(b"short")
    with path.open("rb") as file, pytest.raises(OSError, match="shorter"):
        server.sendfile(file, 0, 100)


def test_a_small_response_is_one_piece_and_nothing_is_held(ends: tuple[socket.socket, ClientSocket]) -> None:
    client, server = ends
    server.send_with_next(b"head ")
    server.sendall(b"and body")

    assert client.recv(100) == b"head and body"
    assert not server.held


def test_a_generated_response_waits_until_its_client_has_read(ends: tuple[socket.socket, ClientSocket]) -> None:
    client, server = ends
    pieces = [bytes([number]) * 100_000 for number in range(10)]
    most = 0

    def generate() -> None:
        nonlocal most
        for piece in pieces:
            server.sendall(piece)
            most = max(most, server.held_bytes)
        push_all(server)

    thread = threading.Thread(target=generate)
    thread.start()
    received = read(client)
    thread.join(10)

    assert received == b"".join(pieces)
    assert 0 < most <= 100_000


def test_a_generated_response_does_not_wait_for_ever(
    ends: tuple[socket.socket, ClientSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = ends
    server.sendall(LARGE)
    late = monotonic() + ANSWER_GRACE_SECONDS + 1
    monkeypatch.setattr(client_socket, "monotonic", lambda: late)

    with pytest.raises(ClientTooSlow):
        server.sendall(b"more")
    assert server.fileno() == -1
    with pytest.raises(ConnectionResetError):
        read(client)


def test_no_thread_waits_for_the_client_of_a_response_that_broke_off(
    ends: tuple[socket.socket, ClientSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    monkeypatch.setattr(socket.socket, "settimeout", lambda _sock, seconds: waits.append(seconds))
    util.close_graceful(ends[1])
    assert (waits, ends[1].fileno()) == ([], -1)


def test_what_the_kernel_keeps_does_not_count_as_read(ends: tuple[socket.socket, ClientSocket]) -> None:
    _client, server = ends
    server.send_or_hold(LARGE)
    now = monotonic()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 500_000)
    held = server.held_bytes
    server.push()
    assert held - server.held_bytes > ANSWER_GRACE_SECONDS * MIN_BYTES_PER_SECOND, "the kernel took much"

    assert not server.is_too_slow(now + ANSWER_GRACE_SECONDS - 1)
    assert server.is_too_slow(now + ANSWER_GRACE_SECONDS + 20)


def test_who_reads_is_not_too_slow(ends: tuple[socket.socket, ClientSocket]) -> None:
    client, server = ends
    server.send_or_hold(LARGE)
    now = monotonic()
    for step in range(1, 5):
        left = server.held_bytes
        for _read in range(1_000):
            if left - server.held_bytes >= ANSWER_GRACE_SECONDS * MIN_BYTES_PER_SECOND:
                break
            client.recv(4_096)
            server.push()
        assert not server.is_too_slow(now + step * ANSWER_GRACE_SECONDS * 0.9)


def test_a_client_that_has_gone_is_an_error(ends: tuple[socket.socket, ClientSocket]) -> None:
    client, server = ends
    server.send_or_hold(LARGE)
    client.close()

    with pytest.raises(OSError, match=r"reset|pipe"):
        push_all(server)
