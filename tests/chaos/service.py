"""The service that is broken on purpose, and the means to break it; no other test shares its servers.

The supervisor restarts a program that dies, as in production; only PostgreSQL is started by the test.
"""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import pika
import psutil
import psycopg
from pika.exceptions import AMQPError

from project.local.servers.ports import LOOPBACK, free_port
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import MANAGE, ROOT, Stack
from tests.chaos.proxy import Proxy

DATABASE = "chaos"
HEARTBEAT_SECONDS = 2
# After so long a silent peer is given up: two heartbeats, and the time to notice.
SILENCE_SECONDS = 2 * HEARTBEAT_SECONDS + 0.5
BACK_TIMEOUT_SECONDS = 90.0
EFFECTS = "CREATE TABLE chaos_effect (id bigserial PRIMARY KEY, name text NOT NULL)"


@dataclass(kw_only=True)
class ProxiedRabbitmq(PrivateRabbitmq):
    """A node that its clients reach through a proxy, and tests directly."""

    proxy_port: int

    @property
    def url(self) -> str:
        return f"{self.url_at(self.proxy_port)}?heartbeat={HEARTBEAT_SECONDS}"


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A queue's counts, from RabbitMQ."""

    messages: int | None
    """Without unacknowledged ones; None if RabbitMQ does not answer, or has no such queue."""

    consumers: int


class Service:
    """A stack with its servers, and the proxies through which it reaches them."""

    def __init__(
        self,
        *,
        directory: Path,
        postgresql: PrivatePostgresql,
        postgresql_proxy: Proxy,
        rabbitmq: ProxiedRabbitmq,
        rabbitmq_proxy: Proxy,
        rabbitmq_url: str = "",
        database_url: str = "",
    ) -> None:
        """Prepare the stack.

        Args:
            directory: for the files of the stack.
            postgresql: the primary.
            postgresql_proxy: the proxy before it.
            rabbitmq: the node, or one of a cluster.
            rabbitmq_proxy: the proxy before it.
            rabbitmq_url: the addresses of a cluster, which the supervisor does not run.
            database_url: the addresses of the primary and its standby.
        """
        self.postgresql = postgresql
        self.rabbitmq = rabbitmq
        self.postgresql_proxy = postgresql_proxy
        self.rabbitmq_proxy = rabbitmq_proxy
        self.log = directory / "debug.log"
        self.diary = directory / "diary"
        self.diary.touch()
        address = f"postgresql://postgres@{LOOPBACK}:{self.postgresql_proxy.port}/{DATABASE}"
        self.stack = Stack(
            directory=directory / "stack",
            port=free_port(),
            rabbitmq=None if rabbitmq_url else rabbitmq,
            rabbitmq_url=rabbitmq_url,
            variables=self._variables(database_url or address),
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the stack on servers that run, and an empty database."""
        self.postgresql.create_database(DATABASE)
        self.query(EFFECTS)
        with self.stack:
            self.wait_for_consumers()
            yield

    def query(self, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement over a connection of its own and return its rows."""
        with psycopg.connect(self.postgresql.url(DATABASE), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def count(self, statement: LiteralString, *parameters: Any) -> int:
        """Return the number that a statement selects."""
        return int(self.query(statement, *parameters)[0][0])

    def events(self) -> list[int]:
        """Return the ids of the logged events in the order in which they were committed."""
        return [row[0] for row in self.query("SELECT id FROM actors_activity ORDER BY transaction, id")]

    def states(self) -> dict[str, int]:
        """Return how many rows of the outbox are in each state."""
        return dict(self.query("SELECT state, count(*) FROM outbox_outboxmessage GROUP BY state"))

    def published(self) -> int:
        """Return how many rows are published."""
        return self.states().get("published", 0)

    def send(self, *statements: str) -> None:
        """Run statements that can use the misbehaving actors, in a process with the service's settings."""
        program = "\n".join(["from tests.chaos.actors import *", *statements])
        command = [*MANAGE, "shell", "-c", program]
        done = subprocess.run(
            command, env=self.stack.environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def runs(self, name: str) -> list[tuple[str, int, float]]:
        """Return the diary's entries of a run: event, process id, monotonic seconds."""
        lines = [line.split() for line in self.diary.read_text("utf-8").splitlines()]
        return [(event, int(pid), float(at)) for who, event, pid, at in lines if who == name]

    def effects(self, name: str) -> int:
        """Return how often an effect was committed."""
        return self.count("SELECT count(*) FROM chaos_effect WHERE name = %s", name)

    def processes(self, program: str) -> list[psutil.Process]:
        """Return the master of a program's pool and its children; none while it is down."""
        pid = self.stack.supervisor.pid(program)
        if pid is None:
            return []
        try:
            master = psutil.Process(pid)
            return [master, *master.children()]
        except psutil.NoSuchProcess:
            return []

    def kill_one_of(self, program: str, chance: random.Random) -> None:
        """Kill a process of a program's pool, or its master, as soon as there is one."""

        def kill() -> bool:
            try:
                chance.choice(self.processes(program)).kill()
            except (IndexError, psutil.NoSuchProcess):
                return False
            return True

        assert wait_until(kill, timeout_seconds=BACK_TIMEOUT_SECONDS), f"{program} does not come back"

    def kill_all_of(self, *programs: str) -> None:
        """Kill every process of some programs, all at once."""
        for process in [each for program in programs for each in self.processes(program)]:
            with suppress(psutil.NoSuchProcess):  # the end of its master may have ended it
                process.kill()

    def _node(self) -> int:
        pid = self.stack.supervisor.pid("rabbitmq")
        assert pid is not None, "RabbitMQ does not run"
        return pid

    def kill_node(self) -> None:
        """Kill RabbitMQ, as a crash of its machine would."""
        os.kill(self._node(), signal.SIGKILL)

    @contextmanager
    def frozen_node(self) -> Iterator[None]:
        """Suspend RabbitMQ: its connections stay open and get no answer."""
        node = self._node()
        os.kill(node, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(node, signal.SIGCONT)

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Lose every byte between the service and RabbitMQ."""
        self.rabbitmq_proxy.black_hole()
        try:
            yield
        finally:
            self.rabbitmq_proxy.forward()

    @contextmanager
    def lost_answers_to_commits(self, chance: random.Random, *, share: float) -> Iterator[None]:
        """Cut connections to PostgreSQL between a commit and its answer: the client cannot know that it committed."""
        self.postgresql_proxy.loses_answer_to = lambda request: b"COMMIT" in request and chance.random() < share
        try:
            yield
        finally:
            self.postgresql_proxy.loses_answer_to = lambda request: False

    @contextmanager
    def down(self, program: str) -> Iterator[None]:
        """Stop a program in order, and start it again."""
        self.stack.supervisor.stop_program(program)
        try:
            yield
        finally:
            self.stack.supervisor.start_program(program)

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Have RabbitMQ block publishers by a memory alarm."""
        self.rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            yield
        finally:
            self.rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "0.4")

    def wipe_node(self) -> None:
        """Delete all that RabbitMQ has on its disk, while it is stopped."""
        shutil.rmtree(self.rabbitmq.files.data)
        self.rabbitmq.prepare()

    def wait_for_node(self) -> None:
        """Wait until RabbitMQ answers."""
        assert wait_until(self.rabbitmq.is_ready, timeout_seconds=BACK_TIMEOUT_SECONDS), "RabbitMQ does not come back"

    def wait_for_consumers(self) -> None:
        """Wait until every worker process consumes."""
        wanted = int(self.stack.environment["DRAMATIQ_NPROCS"])
        in_time = wait_until(lambda: self.ready("activity").consumers >= wanted, timeout_seconds=BACK_TIMEOUT_SECONDS)
        assert in_time, f"the workers do not consume: {self.ready('activity')}"

    def ready(self, queue: str) -> "Ready":
        """Return a queue's counts of ready messages and consumers; cheap, but the counts lag."""
        parameters = pika.URLParameters(f"{self.rabbitmq.url_at(self.rabbitmq.amqp_port)}?socket_timeout=5")
        try:
            with pika.BlockingConnection(parameters) as connection:
                declared = connection.channel().queue_declare(queue, passive=True).method
        except (AMQPError, OSError):
            return Ready(messages=None, consumers=0)
        return Ready(messages=declared.message_count, consumers=declared.consumer_count)

    def queues(self) -> dict[str, int]:
        """Return how many messages each of RabbitMQ's queues has, unacknowledged ones included."""
        listed = self.rabbitmq.rabbitmqctl("list_queues", "--no-table-headers", "name", "messages")
        return {name: int(messages) for name, messages in map(str.split, listed.splitlines())}

    def heal(self) -> None:
        """Start every program, and restore every connection, that the last scenario has stopped or cut off."""
        self.rabbitmq_proxy.forward()
        if not self.postgresql.is_running():
            self.postgresql.start()
        broker = ("epmd", "rabbitmq") if self.stack.rabbitmq else ()
        for program in (*broker, "web", "worker"):
            self.stack.supervisor.start_program(program)
        self.wait_for_node()

    def forget(self) -> None:
        """Delete a failed scenario's messages from the outbox and the queues: they would fail the next one."""
        if self.states():
            self.query("TRUNCATE outbox_outboxmessage")
            for queue in self.queues():
                self.rabbitmq.rabbitmqctl("purge_queue", queue)

    def _variables(self, database_url: str) -> dict[str, str]:
        return {
            "ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": database_url,
            "LOG_FILE": str(self.log),
            "CHAOS_DIARY": str(self.diary),
            "THROTTLE_USER": "1000000/minute",
            "THROTTLE_ANON": "1000000/minute",
            "ACCESS_TOKEN_MINUTES": "60",  # a long pass signs in once
            "MIN_BACKOFF_MS": "200",
            "MAX_BACKOFF_MS": "2000",
            "REPAIR_AFTER_SECONDS": "2",
            "UPKEEP_SECONDS": "1",
        }
