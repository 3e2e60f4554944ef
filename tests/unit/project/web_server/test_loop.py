"""The main loop waits for clients in place of threads, and ends what takes too long, is too much or too many."""

import logging
import selectors
import socket
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from project.web_server import arrival, client_socket, loop
from project.web_server.arrival import HEAD_SECONDS, MAX_HEAD_BYTES, Arrival
from project.web_server.client_socket import ANSWER_GRACE_SECONDS, ClientSocket
from project.web_server.loop import CLOSING_SECONDS, SILENT_CLOSING_SECONDS, Loop
from tests.unit.project.web_server.connections import Connection, connected, read

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"
IDLE_SECONDS = 2.0
LARGE = bytes(1_000_000)


class Server:
    """A loop with its poller; the connections that it hands out wait in `served`."""

    def __init__(self, max_connections: int = 3) -> None:
        self.poller = selectors.DefaultSelector()
        self.served: list[Connection] = []
        self.ended = 0
        self.loop = Loop(
            self.poller,
            serve=self.served.append,
            forget=self.note_end,
            max_connections=max_connections,
            idle_seconds=IDLE_SECONDS,
        )
        self.clients: list[socket.socket] = []

    def note_end(self) -> None:
        self.ended += 1

    def connect(self, sent: bytes = b"") -> tuple[socket.socket, Connection]:
        """Connect a client that has sent something already."""
        client, server = connected()
        self.clients.append(client)
        client.sendall(sent)
        connection = Connection(server)
        self.loop.admit(connection)
        self.turn()
        return client, connection

    def turn(self) -> None:
        """Handle the events that there are."""
        for key, _events in self.poller.select(0.02):
            key.data(key.fileobj)

    def turn_until(self, holds: Callable[[], bool]) -> None:
        """Handle events until something holds."""
        ends_at = monotonic() + 10
        while not holds():
            assert monotonic() < ends_at
            self.turn()

    def take(self, client: socket.socket, data: bytes) -> None:
        """Have a client send more than the kernel takes at once."""
        client.settimeout(0)
        while data:
            try:
                data = data[client.send(data) :]
            except BlockingIOError:
                self.turn()
        client.settimeout(10)

    def answer(self, connection: Connection, response: bytes, *, stays: bool) -> None:
        """Do what a thread does."""
        connection.sock.send_or_hold(response)
        connection.arrival = Arrival(max_body=10)
        self.loop.resume(connection, stays=stays)

    def sweep_after(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let time pass and end what is overdue."""
        now = vars(loop)["monotonic"]() + seconds
        for module in (arrival, client_socket, loop):
            monkeypatch.setattr(module, "monotonic", lambda: now)
        self.loop.sweep()


@pytest.fixture
def server() -> Iterator[Server]:
    """With room for three connections."""
    server = Server()
    yield server
    for key in [*server.poller.get_map().values()]:
        if isinstance(key.fileobj, ClientSocket):
            key.fileobj.close()
    for each in [*server.clients, *(connection.sock for connection in server.served)]:
        each.close()
    server.poller.close()


def test_a_request_that_has_come_is_served_at_once(server: Server) -> None:
    _client, connection = server.connect(GET)

    assert server.served == [connection]


def test_a_request_is_served_when_it_is_whole(server: Server) -> None:
    body = b"x" * 500_000
    client, connection = server.connect(POST)
    assert server.served == []

    server.take(client, body)
    server.turn_until(lambda: server.served == [connection])
    assert bytes(connection.arrival.data) == POST + body


def test_who_waits_for_a_go_ahead_gets_it_once(server: Server) -> None:
    client, _connection = server.connect(POST.replace(b"Host", b"Expect: 100-continue\r\nHost"))
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

    server.take(client, b"x")
    server.turn()
    client.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.recv(100)


@pytest.mark.parametrize("sent", [b"", GET[:-1]])
def test_nothing_ends_before_its_time(server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    server.connect(sent)
    server.sweep_after(HEAD_SECONDS - 1, monkeypatch)

    assert server.ended == 0


def test_a_head_that_takes_too_long_is_answered_with_408(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop.logger, "propagate", True)
    client, _connection = server.connect(GET[:-1])
    with caplog.at_level(logging.INFO, loop.logger.name):
        server.sweep_after(HEAD_SECONDS + 1, monkeypatch)

    assert read(client).startswith(b"HTTP/1.1 408 ")
    assert "1 clients with their requests, 0" in caplog.text


def test_a_silent_connection_ends_without_a_word(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _connection = server.connect()
    server.sweep_after(HEAD_SECONDS + 1, monkeypatch)

    assert read(client) == b""
    assert server.ended == 1


def test_too_long_a_head_is_answered_with_431(server: Server) -> None:
    client, _connection = server.connect()
    server.take(client, b"x" * (MAX_HEAD_BYTES + 1))
    server.turn_until(lambda: not server.poller.select(0))

    assert read(client).startswith(b"HTTP/1.1 431 ")


def test_a_connection_that_stays_waits_for_another_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client, connection = server.connect(GET)
    server.answer(connection, b"first", stays=True)
    client.sendall(GET)
    server.turn()
    assert server.served == [connection, connection]

    server.answer(connection, b"second", stays=True)
    server.sweep_after(IDLE_SECONDS + 1, monkeypatch)
    assert read(client) == b"firstsecond"
    assert server.ended == 1


def test_a_process_that_stops_awaits_requests_for_a_moment_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, _connection = server.connect()
    server.connect(GET[:-1])
    server.loop.limit_idle(monotonic() + 1)
    server.sweep_after(2, monkeypatch)

    assert read(silent) == b""
    assert server.ended == 1


def test_a_client_that_hangs_up_is_forgotten(server: Server) -> None:
    client, _connection = server.connect(GET[:-1])
    client.close()

    server.turn_until(lambda: server.ended == 1)


@pytest.mark.parametrize("stays", [True, False])
def test_a_response_leaves_without_a_thread(server: Server, stays: bool) -> None:
    client, connection = server.connect(GET)
    server.answer(connection, LARGE, stays=stays)
    received = b""
    while len(received) < len(LARGE):
        server.turn()
        received += client.recv(1_000_000)
    assert received == LARGE

    server.take(client, GET)
    server.turn()
    assert server.served == [connection, connection] if stays else [connection]


def test_a_response_that_is_not_read_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client, connection = server.connect(GET)
    server.answer(connection, LARGE, stays=True)
    server.sweep_after(ANSWER_GRACE_SECONDS - 1, monkeypatch)
    assert server.ended == 0

    server.sweep_after(ANSWER_GRACE_SECONDS + 1, monkeypatch)
    assert server.ended == 1
    with pytest.raises(ConnectionResetError):
        read(client)


def test_a_connection_ends_when_its_client_hangs_up_though_it_still_sends(server: Server) -> None:
    client, connection = server.connect(GET)
    server.answer(connection, b"response", stays=False)
    server.take(client, b"x" * 500_000)

    assert read(client) == b"response"
    assert server.ended == 0
    client.close()
    server.turn_until(lambda: server.ended == 1)


@pytest.mark.parametrize("sends", [True, False])
def test_a_client_that_does_not_hang_up_is_waited_for_briefly(
    server: Server, monkeypatch: pytest.MonkeyPatch, sends: bool
) -> None:
    client, connection = server.connect(GET)
    server.answer(connection, b"response", stays=False)
    step = 0
    while not server.ended:
        step += 1
        server.sweep_after(1, monkeypatch)
        if sends and not server.ended:
            client.sendall(b"x")
            server.turn()

    seconds = CLOSING_SECONDS if sends else SILENT_CLOSING_SECONDS
    assert seconds <= step <= seconds + 2


def test_a_connection_that_its_thread_has_closed_is_forgotten(server: Server) -> None:
    _client, connection = server.connect(GET)
    connection.sock.close()
    server.loop.resume(connection, stays=False)

    assert server.ended == 1


def test_the_longest_silent_connection_makes_room_for_a_new_one(server: Server) -> None:
    clients = [server.connect(sent)[0] for sent in (b"", GET[:-1], b"")]
    _last, connection = server.connect(GET)

    assert server.served == [connection]
    assert read(clients[0]) == b""
    assert server.ended == 1


def test_a_client_that_reads_slowly_makes_room_after_silent_ones(server: Server) -> None:
    _reader, reading = server.connect(GET)
    server.answer(reading, LARGE, stays=True)
    for _silent in range(2):
        server.connect()
    for _new in range(2):
        server.served.append(server.connect(GET)[1])
    assert reading.sock.fileno() != -1
    assert server.ended == 2

    server.connect(GET)
    assert reading.sock.fileno() == -1
    assert server.ended == 3


def test_a_connection_is_refused_if_all_others_have_threads(server: Server) -> None:
    for _served in range(3):
        server.connect(GET)
    client, _connection = server.connect(GET)

    answer = read(client)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 5\r\n" in answer
    assert len(server.served) == 3
    assert server.ended == 1


def test_requests_in_memory_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_ARRIVING_BYTES", 600_000)
    first, _connection = server.connect(POST)
    server.take(first, b"x" * 400_000)
    server.turn_until(lambda: not server.poller.select(0))
    second, connection = server.connect(POST)
    server.take(second, b"x" * 300_000)
    server.turn_until(lambda: server.ended == 1)

    assert connection.sock.fileno() != -1, "the larger one goes"


def test_who_has_sent_nothing_is_not_given_up_for_memory(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_ARRIVING_BYTES", 10)
    server.connect(GET)  # is served: cannot be given up
    _client, silent = server.connect()
    sending, _connection = server.connect(POST)
    server.take(sending, b"x" * 100_000)
    server.turn_until(lambda: server.ended == 1)

    assert silent.sock.fileno() != -1


def test_responses_in_memory_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_LEAVING_BYTES", 1_500_000)
    leaving = [server.connect(GET)[1] for _ in range(2)]
    for connection in leaving:
        server.answer(connection, LARGE, stays=True)

    assert [connection.sock.fileno() == -1 for connection in leaving] == [True, False]


def test_an_event_of_a_connection_that_has_just_ended_is_ignored(server: Server) -> None:
    first, _connection = server.connect()
    first.sendall(GET)
    events = server.poller.select(1)
    server.loop.make_room()
    for key, _events in events:
        key.data(key.fileobj)

    assert server.served == []
    assert server.ended == 1
