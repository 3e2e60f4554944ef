"""Ports are found on loopback, free ones only, and none twice."""

import socket
from collections.abc import Iterator

import pytest

from project.local.servers import ports
from project.local.servers.errors import ServerError
from project.local.servers.ports import LOOPBACK, first_free_port, free_port, is_free


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, free_port())) as server:
        yield server


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def test_a_port_with_a_listener_is_not_free(listener: socket.socket) -> None:
    assert not is_free(port_of(listener))


def test_a_port_with_a_listener_on_every_address_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", free_port())) as server:
        assert not is_free(port_of(server))


def test_a_port_that_this_user_may_not_take_is_not_called_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", refuse)

    with pytest.raises(ServerError, match=r"Port 80: permission denied\. Choose one from 1024 on\."):
        is_free(80)


def test_a_port_is_free_again_while_old_connections_linger_in_time_wait() -> None:
    with socket.create_server((LOOPBACK, free_port())) as server:
        port = port_of(server)
        client = socket.create_connection((LOOPBACK, port))
        connection, _address = server.accept()
        # The side that closes first keeps the port in TIME_WAIT.
        connection.close()
        client.close()

    assert is_free(port)


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server((LOOPBACK, free_port())):
        pass


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(50)]

    assert len(set(given)) == len(given)


def test_ports_the_kernel_gives_to_outgoing_connections_are_avoided() -> None:
    assert all(free_port() < ports._ephemeral_start() for _ in range(20))


def test_the_preferred_port_is_taken_if_it_is_free() -> None:
    preferred = free_port()

    assert first_free_port(preferred) == preferred


def test_the_next_free_port_is_taken_if_the_preferred_one_is_not(listener: socket.socket) -> None:
    preferred = port_of(listener)

    assert preferred < first_free_port(preferred) < preferred + 20


def test_when_every_tried_port_is_busy_the_error_names_them(listener: socket.socket) -> None:
    busy = port_of(listener)

    with pytest.raises(ServerError, match=str(busy)):
        first_free_port(busy, tries=1)
