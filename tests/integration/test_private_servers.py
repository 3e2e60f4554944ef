"""Private servers, real ones: they start, keep their data, fail with a clear message, and leave nothing behind."""

import http.client
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
import pika
import psutil
import psycopg
import pytest

from project.local.servers import postgresql
from project.local.servers.errors import ServerCommandFailed, ServerFailedToStart, ServerUnavailable
from project.local.servers.ports import LOOPBACK, free_port, is_free
from project.local.servers.postgresql import PrivatePostgresql, account_for_root
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import Installation, PrivateRabbitmq, find_or_fetch

pytestmark = pytest.mark.integration

CACHE = Path(__file__).parents[2] / "var" / "cache"
TIMEOUT_SECONDS = 30
QUEUE_TYPES = ("classic", "quorum")


T = TypeVar("T")


def or_skip(find: Callable[[], T]) -> T:
    try:
        return find()
    except ServerUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
        raise


@pytest.fixture(scope="session")
def rabbitmq_installation() -> Installation:
    return or_skip(lambda: find_or_fetch(CACHE, print))


@pytest.fixture(scope="session")
def postgresql_installation() -> postgresql.Installation:
    return or_skip(lambda: postgresql.find_or_fetch(CACHE, print))


@pytest.fixture
def node(rabbitmq_installation: Installation, tmp_path: Path) -> Iterator[PrivateRabbitmq]:
    # Without the management plugin, which only one test needs, a node stops sooner.
    node = PrivateRabbitmq(installation=rabbitmq_installation, directory=tmp_path / "rabbitmq", plugins=())
    yield node
    node.kill()


@pytest.fixture(scope="module")
def shared_node(
    rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateRabbitmq]:
    directory = tmp_path_factory.mktemp("shared-rabbitmq")
    with PrivateRabbitmq(installation=rabbitmq_installation, directory=directory) as node:
        yield node


@pytest.fixture
def server(postgresql_installation: postgresql.Installation, tmp_path: Path) -> Iterator[PrivatePostgresql]:
    server = PrivatePostgresql(installation=postgresql_installation, directory=tmp_path / "pg", durable=False)
    yield server
    server.kill()
    server.remove_data_kept_elsewhere()


def processes_of(directory: Path) -> set[psutil.Process]:
    """Return every live process that names `directory` in its command line or environment."""
    return {process for process in psutil.process_iter() if str(directory) in _description(process)}


def _description(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return " ".join([*process.cmdline(), *process.environ().values()])
    return ""


def publish(url: str, *, queue: str, kind: str, body: bytes) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def holds(url: str, *, queue: str, body: bytes) -> bool:
    """Return whether `body` is the first message of a queue, and leave it there."""
    try:
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            _method, _properties, found = connection.channel().basic_get(queue)
    except pika.exceptions.AMQPError:
        return False
    return bool(found == body)


def assert_messages_are_there(node: PrivateRabbitmq) -> None:
    for kind in QUEUE_TYPES:
        # A quorum queue elects its leader after the node has begun to serve.
        found = partial(holds, node.url, queue=kind, body=kind.encode())
        assert wait_until(found, timeout_seconds=TIMEOUT_SECONDS)


@pytest.mark.heavy
def test_persistent_messages_survive_a_restart_a_change_of_ports_and_a_kill(node: PrivateRabbitmq) -> None:
    node.start()
    for kind in QUEUE_TYPES:
        publish(node.url, queue=kind, kind=kind, body=kind.encode())
    node.restart()
    assert_messages_are_there(node)
    node.stop()
    moved = PrivateRabbitmq(installation=node.installation, directory=node.directory, plugins=())
    try:
        moved.start()
        assert_messages_are_there(moved)
        moved.kill()
        moved.start()
        assert_messages_are_there(moved)
    finally:
        moved.kill()


@pytest.mark.heavy
@pytest.mark.parametrize("end", [PrivateRabbitmq.stop, PrivateRabbitmq.kill])
def test_nothing_of_a_node_is_left_running(end: Callable[[PrivateRabbitmq], None], node: PrivateRabbitmq) -> None:
    node.start()
    assert len(processes_of(node.directory)) >= 2  # epmd and the node, at least
    assert not is_free(node.amqp_port)

    end(node)

    assert processes_of(node.directory) == set()
    assert node.busy_port() is None


def users_of(node: PrivateRabbitmq) -> str:
    return node.rabbitmqctl("list_users", "--no-table-headers").strip()


def test_a_nodes_one_user_is_no_administrator_and_sees_the_management_ui(shared_node: PrivateRabbitmq) -> None:
    assert users_of(shared_node) == "vazifa\t[management]"
    with httpx.Client(base_url=f"{shared_node.management_url}api/", timeout=TIMEOUT_SECONDS) as client:
        assert client.get("whoami", auth=("guest", "guest")).status_code == 401
        client.auth = httpx.BasicAuth(shared_node.username, shared_node.password)
        assert client.get("whoami").json()["tags"] == ["management"]
        assert client.get("queues").status_code == client.get("overview").status_code == 200
        assert client.get("users").status_code == client.put("users/other", json={}).status_code == 401


@pytest.mark.heavy
@pytest.mark.parametrize("lost", [False, True], ids=["guest", "lost-password"])
def test_a_node_of_an_earlier_release_gets_its_user_and_loses_guest(node: PrivateRabbitmq, lost: bool) -> None:
    node.start()
    publish(node.url, queue="kept", kind="quorum", body=b"kept")
    if lost:
        node.files.password_file.unlink()
    else:
        node.rabbitmqctl("add_user", "guest", "guest")
        node.rabbitmqctl("set_user_tags", "guest", "administrator")
        node.rabbitmqctl("set_permissions", "guest", ".*", ".*", ".*")
        node.rabbitmqctl("delete_user", "vazifa")
    node.restart()

    assert users_of(node) == "vazifa\t[management]"
    assert wait_until(partial(holds, node.url, queue="kept", body=b"kept"), timeout_seconds=TIMEOUT_SECONDS)


def test_a_node_serves_its_management_ui(shared_node: PrivateRabbitmq) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, shared_node.management_port, timeout=10)
    connection.request("GET", "/")
    page = connection.getresponse().read()
    connection.close()

    assert b"RabbitMQ" in page


def test_everything_a_node_opens_is_on_loopback(shared_node: PrivateRabbitmq) -> None:
    listening = [
        connection.laddr.ip
        for process in processes_of(shared_node.directory)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert set(listening) <= {"127.0.0.1", "::1"}
    assert len(listening) >= 4


def test_rabbitmqctl_speaks_to_the_private_node(shared_node: PrivateRabbitmq) -> None:
    publish(shared_node.url, queue="listed", kind="classic", body=b"x")

    assert "listed" in shared_node.rabbitmqctl("list_queues", "name", "--no-table-headers")
    with pytest.raises(ServerCommandFailed, match="rabbitmqctl list_nonsense failed"):
        shared_node.rabbitmqctl("list_nonsense")


def test_a_frozen_node_answers_nothing_until_it_is_thawed(shared_node: PrivateRabbitmq) -> None:
    shared_node.freeze()
    assert not shared_node.is_ready()

    shared_node.thaw()
    assert wait_until(shared_node.is_ready, timeout_seconds=TIMEOUT_SECONDS)


def test_a_nodes_busy_port_is_refused_in_one_line(node: PrivateRabbitmq) -> None:
    with socket.create_server((LOOPBACK, node.amqp_port)), pytest.raises(ServerFailedToStart) as caught:
        node.start()

    assert re.fullmatch(rf".*{node.amqp_port}.*in use.*", str(caught.value))
    assert processes_of(node.directory) == set()


def test_a_broken_configuration_is_quoted_with_the_path_of_the_log(node: PrivateRabbitmq) -> None:
    node.extra_configuration = ("no.such.key = 1",)

    with pytest.raises(ServerFailedToStart) as caught:
        node.start()

    message = str(caught.value)
    assert "no.such.key" in message
    assert "\n" not in message
    assert Path(message.rpartition("see ")[2].rstrip(")")).is_file()
    assert processes_of(node.directory) == set()


def test_a_node_that_is_not_ready_in_time_is_ended(node: PrivateRabbitmq) -> None:
    with pytest.raises(ServerFailedToStart, match="not ready after"):
        node.start(timeout_seconds=0.1)

    assert processes_of(node.directory) == set()


def test_postgresql_keeps_what_was_committed(server: PrivatePostgresql) -> None:
    server.start()
    server.create_database("kept")
    with psycopg.connect(server.url("kept")) as connection:
        connection.execute("CREATE TABLE word AS SELECT 'vazifa' AS text")

    for end in (server.stop, partial(server.stop, "immediate"), server.kill):
        end()
        server.start()
        with psycopg.connect(server.url("kept")) as connection:
            assert connection.execute("SELECT text FROM word").fetchone() == ("vazifa",)


def test_postgresql_knows_cyrillic_letters(server: PrivatePostgresql) -> None:
    server.start()

    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT upper('задача')").fetchone() == ("ЗАДАЧА",)


def test_a_database_can_be_dropped_while_it_is_used(server: PrivatePostgresql) -> None:
    server.start()
    server.create_database('odd "name"')
    connection = psycopg.connect(server.url("odd%20%22name%22"))

    server.drop_database('odd "name"')

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url("odd%20%22name%22"))
    connection.close()


@pytest.mark.parametrize("end", [PrivatePostgresql.stop, PrivatePostgresql.kill])
def test_nothing_of_postgresql_is_left_running(
    end: Callable[[PrivatePostgresql], None], server: PrivatePostgresql
) -> None:
    server.start()
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(family) > 1

    end(server)

    assert not [process for process in family if _description(process)]
    assert is_free(server.port)


def test_postgresqls_busy_port_is_refused_in_one_line(server: PrivatePostgresql) -> None:
    with socket.create_server((LOOPBACK, server.port)), pytest.raises(ServerFailedToStart) as caught:
        server.start()

    assert re.fullmatch(rf".*{server.port}.*in use.*", str(caught.value))


def test_a_postgresql_that_cannot_start_is_explained_with_the_path_of_the_log(server: PrivatePostgresql) -> None:
    server.prepare()
    (server.programs()[0].working_directory / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(ServerFailedToStart, match=r"configuration file .* contains errors") as caught:
        server.start()

    assert str(server.log) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as another user")
def test_root_runs_postgresql_unprivileged_even_from_a_private_directory(
    postgresql_installation: postgresql.Installation, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    account = account_for_root()
    assert account is not None

    with PrivatePostgresql(installation=postgresql_installation, directory=private, port=free_port()) as server:
        assert psutil.Process(server.pid).uids().real == account.pw_uid
        elsewhere = server.programs()[0].working_directory
        assert elsewhere.is_dir()

    assert not elsewhere.exists()
