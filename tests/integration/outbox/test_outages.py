"""A worker process with all its parts, and a RabbitMQ that it cannot use: one line at the beginning, one at the end.

The process has a relay, upkeep, and a consumer for each of three queues; each meets the outage in its own way.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.servers.rabbitmq_installation import Installation
from tests.chaos.proxy import Proxy
from tests.integration.outbox.pool.process import Pool, wait_for

pytestmark = pytest.mark.integration

# Of the relay's and the consumers' connections: they notice silence after twice as long.
HEARTBEAT_SECONDS = 2
# How long a fault lasts: for long enough that every part tries to connect again and again.
FAULT_SECONDS = 12
SETTLE_SECONDS = 4
SEND = "from tests.integration.outbox.pool.slow import wait_for_gate as slow; slow.send(1)"
LINE = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \S+\[\d+\] .*")
OUTAGES = "actors.outbox.outage["

Fault = Callable[[PrivateRabbitmq, Proxy], Iterator[None]]


@pytest.fixture(scope="module")
def node(rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitmq]:
    """A node that these tests may break; each repairs it."""
    directory = tmp_path_factory.mktemp("outages")
    with PrivateRabbitmq(installation=rabbitmq_installation, directory=directory, plugins=()) as node:
        yield node


@pytest.fixture
def proxy(node: PrivateRabbitmq) -> Iterator[Proxy]:
    with Proxy(target_port=node.amqp_port) as proxy:
        yield proxy


@pytest.fixture
def pool(postgresql: PrivatePostgresql, node: PrivateRabbitmq, tmp_path: Path) -> Iterator[Pool]:
    """A pool that is not started, and whose one message runs until its gate is opened."""
    postgresql.create_database("outages")
    url = f"{node.url}?heartbeat={HEARTBEAT_SECONDS}"
    pool = Pool(
        directory=tmp_path,
        database_url=postgresql.url("outages"),
        rabbitmq_url=url,
        TIME_LIMIT_MS="600000",  # its message runs for as long as the fault lasts
        CONSUMER_TIMEOUT_SECONDS="86400",
    )
    pool.manage("migrate", "--verbosity", "0")
    yield pool
    pool.open_gate()
    pool.kill()
    postgresql.drop_database("outages")


def killed(node: PrivateRabbitmq, _proxy: Proxy) -> Iterator[None]:
    node.kill()
    yield
    node.start()


def frozen(node: PrivateRabbitmq, _proxy: Proxy) -> Iterator[None]:
    node.freeze()
    yield
    node.thaw()


def blocked(node: PrivateRabbitmq, _proxy: Proxy) -> Iterator[None]:
    node.rabbitmqctl("set_vm_memory_high_watermark", "0")
    yield
    node.rabbitmqctl("set_vm_memory_high_watermark", "0.4")


def locked_out(node: PrivateRabbitmq, _proxy: Proxy) -> Iterator[None]:
    node.rabbitmqctl("change_password", node.username, secret="another")
    node.rabbitmqctl("close_all_connections", "new password")
    yield
    node.rabbitmqctl("change_password", node.username, secret=node.password)


def cut_off(_node: PrivateRabbitmq, proxy: Proxy) -> Iterator[None]:
    proxy.black_hole()
    yield
    proxy.forward()


def lines(pool: Pool) -> list[str]:
    """What the pool has logged, without the time."""
    return LINE.findall(pool.log.read_text("utf-8"))


def outages(pool: Pool) -> list[str]:
    return [f"{line.split()[0]} {line.split('] ', 1)[1]}" for line in lines(pool) if OUTAGES in line]


def others(pool: Pool) -> list[str]:
    """All else that was logged of the outage, by any logger."""
    # The database's settings; copies that were redelivered.
    expected = (OUTAGES, "db.session[", "was skipped")
    found = (line for line in lines(pool) if not any(each in line for each in expected))
    return [line for line in found if re.match("WARNING|ERROR|CRITICAL|.*Restarting", line)]


def has_ended(pool: Pool) -> bool:
    return any("rabbitmq available again" in line for line in outages(pool))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (killed, ["lost|reset|EOF"]),
        (frozen, ["time|heartbeat"]),
        (blocked, ["it accepts no messages: low on memory"]),
        (locked_out, ["CONNECTION_FORCED - new password", "ACCESS_REFUSED"]),
        (cut_off, ["time|heartbeat"]),
    ],
)
def test_an_outage_is_told_once(
    pool: Pool, node: PrivateRabbitmq, proxy: Proxy, fault: Fault, reasons: list[str]
) -> None:
    pool.environment["RABBITMQ_URL"] = f"{node.url_at(proxy.port)}?heartbeat={HEARTBEAT_SECONDS}"
    pool.start()
    pool.manage("shell", "--no-imports", "-c", SEND)
    wait_for(lambda: pool.begun() == [1])
    assert outages(pool) == []
    # A quorum queue that is younger than about a second does not survive kill -9.
    time.sleep(SETTLE_SECONDS)
    with contextmanager(fault)(node, proxy):
        pool.manage("shell", "--no-imports", "-c", SEND)
        time.sleep(FAULT_SECONDS)
    pool.open_gate()
    wait_for(lambda: has_ended(pool))
    wait_for(lambda: pool.begun() == [1, 1])
    time.sleep(FAULT_SECONDS)
    told = outages(pool)
    assert [line.split(" for=")[0].split(" after")[0] for line in told] == [
        "ERROR rabbitmq unavailable",
        *["WARNING rabbitmq still unavailable"] * (len(reasons) - 1),
        "INFO rabbitmq available again",
    ]
    for line, reason in zip(told, reasons, strict=False):
        assert re.search(f"reason=.*({reason})", line)
    assert re.search(r" after_seconds=\d+\.\d pending=\d+ published=\d+$", told[-1])
    assert others(pool) == []


def test_a_worker_that_starts_before_its_rabbitmq_says_so_once(pool: Pool, node: PrivateRabbitmq) -> None:
    node.stop()
    pool.manage("shell", "--no-imports", "-c", SEND)
    pool.open_gate()
    pool.start()
    wait_for(lambda: len(outages(pool)) == 1)
    node.start()
    wait_for(lambda: has_ended(pool) and pool.begun() == [1])
    begin, end = outages(pool)
    assert re.match(r"ERROR rabbitmq unavailable for='.*' .*reason='.*Connection refused'", begin)
    assert end.startswith("INFO rabbitmq available again after_seconds=")
    assert others(pool) == []
