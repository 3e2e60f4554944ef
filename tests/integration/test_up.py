"""`manage.py up`, as `make run` runs it: in a separate process, stopped and broken from outside."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from project.local.demo import CREATED
from project.local.servers.ports import free_port
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import MANAGE, ROOT
from settings.environment import VAR

pytestmark = pytest.mark.integration

START_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 30.0


class Up:
    """A running `manage.py up` whose state is in a scratch directory."""

    def __init__(self, state: Path, *, port: int, **variables: str) -> None:
        self.state = state
        self.port = port
        self.log = state / "debug.log"
        self.terminal = state / f"terminal-{id(self)}"
        own = {"STATE_DIR": str(state), "PORT": str(port), "LOG_FILE": str(self.log), "ENV_FILE": os.devnull}
        environment = {name: value for name, value in os.environ.items() if name != "RABBITMQ_URL"}
        settings = {"DJANGO_SETTINGS_MODULE": "settings.development", "THROTTLE_ANON": "1000/minute"}
        with self.terminal.open("wb") as terminal:
            self.process = subprocess.Popen(
                [*MANAGE, "up"],
                env={**environment, **settings, **own, **variables},
                cwd=ROOT,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows `text`."""
        shown = wait_until(
            lambda: text in self.said() or self.process.poll() is not None, timeout_seconds=START_TIMEOUT_SECONDS
        )
        assert shown, self.said()
        assert text in self.said(), self.said()

    def said(self) -> str:
        return self.terminal.read_text("utf-8", "replace")

    def ended(self) -> int:
        """Return the exit status once the command has ended."""
        return self.process.wait(START_TIMEOUT_SECONDS)

    def leftovers(self) -> list[psutil.Process]:
        """Return the processes that belong to this state directory."""
        return processes_of(self.state)

    def is_gone(self) -> bool:
        return wait_until(lambda: not self.leftovers(), timeout_seconds=STOP_TIMEOUT_SECONDS)


def processes_of(state: Path) -> list[psutil.Process]:
    """Return the processes that name the state directory in their command or environment."""
    return [process for process in psutil.process_iter() if _names(process, state)]


def _is_node(process: psutil.Process) -> bool:
    try:
        return " rabbit boot " in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0


def _names(process: psutil.Process, state: Path) -> bool:
    try:
        said = [*process.cmdline(), *process.environ().values()]
        return process.status() != psutil.STATUS_ZOMBIE and any(str(state) in word for word in said)
    except psutil.Error:
        return False


@pytest.fixture
def state(tmp_path: Path, rabbitmq: PrivateRabbitmq) -> Path:
    """An empty state directory, with the cache of fetched packages. (`rabbitmq`: skips where no node can be run.)"""
    (VAR / "cache").mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").symlink_to(VAR / "cache")
    return tmp_path


@pytest.fixture
def start_up(state: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(**variables: str) -> Up:
        started.append(Up(state, port=int(variables.pop("PORT", 0)) or free_port(), **variables))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.process.send_signal(signal.SIGTERM)
            up.process.wait(STOP_TIMEOUT_SECONDS)
        for process in up.leftovers():
            with suppress(psutil.NoSuchProcess):
                process.kill()


def create_task(up: Up) -> str:
    """Create a task by the banner's commands; return the line that a worker has to log."""
    with httpx.Client(base_url=f"http://127.0.0.1:{up.port}") as client:
        token = client.post("/api/token/", json={"username": "user1", "password": "pass123"}).json()["access"]
        answer = client.post("/tasks/", json={"title": "Yangi vazifa"}, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 201
        return CREATED.format(**answer.json())


def worker_processes(up: Up) -> list[psutil.Process]:
    """Return the processes of the pool, without their master."""
    pools = [process for process in up.leftovers() if re.search(r"/dramatiq --path", " ".join(process.cmdline()))]
    return [process for process in pools if process.ppid() in [pool.pid for pool in pools]]


@pytest.mark.heavy
def test_it_runs_survives_a_killed_worker_and_stops_without_a_trace(start_up: Callable[..., Up], state: Path) -> None:
    (state / "log").mkdir()
    (state / "log" / "output.log").touch(0o644)  # of an earlier release
    up = start_up()
    up.wait_for("Ctrl-C stops everything.")
    assert f"http://127.0.0.1:{up.port}/api/docs/" in up.said()
    assert "user1 / pass123" in up.said()
    management = re.search(r"RabbitMQ +(http://127\.0\.0\.1:\d+/) +(\w+) / (\w+)\n", up.said())
    assert management
    who = httpx.get(f"{management[1]}api/whoami", auth=(management[2], management[3])).json()
    assert who["tags"] == ["management"]
    front = httpx.get(f"http://127.0.0.1:{up.port}/", headers={"Accept": "text/html"}).text
    assert f'<a href="{management[1]}">RabbitMQ</a>' in front
    assert_a_second_terminal_needs_nothing_more(up, who["name"])

    assert '"Test vazifa"}\'; echo\n' in up.said()

    up.wait_for(create_task(up))
    up.wait_for("POST /tasks/ 201 ")

    assert wait_until(lambda: len(worker_processes(up)) == 2, timeout_seconds=START_TIMEOUT_SECONDS)
    worker_processes(up)[0].kill()
    up.wait_for("exited: worker")
    line = create_task(up)
    up.wait_for(line)
    assert line in up.log.read_text("utf-8")

    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    assert up.said().rstrip().endswith("Stopped.")
    assert up.leftovers() == []
    assert not (up.state / "rabbitmq-url").exists()


def assert_a_second_terminal_needs_nothing_more(up: Up, user: str) -> None:
    address = up.state / "rabbitmq-url"
    written = [path for path in up.state.rglob("*") if path.relative_to(up.state).parts[0] != "cache"]
    loose = {path for path in written if not path.is_symlink() and path.stat().st_mode & 0o077}
    assert loose - {up.terminal} == set()
    assert up.state / "db.sqlite3-wal" in written
    assert f"amqp://{user}:" in address.read_text()
    environment = {name: value for name, value in os.environ.items() if name != "RABBITMQ_URL"}
    settings = {"DJANGO_SETTINGS_MODULE": "settings.development", "STATE_DIR": str(up.state), "ENV_FILE": os.devnull}
    for words in ("outbox repair", "relay --once", "outbox status"):
        command = subprocess.run(
            [*MANAGE, *words.split()],
            env={**environment, **settings, "LOG_FILE": ""},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert command.returncode == 0, command.stderr


@pytest.mark.heavy
def test_everything_ends_when_it_is_killed(start_up: Callable[..., Up]) -> None:
    up = start_up()
    up.wait_for("Ctrl-C stops everything.")
    up.process.kill()
    assert up.is_gone(), up.leftovers()


@pytest.mark.heavy
def test_after_a_kill_the_next_one_waits_for_the_last_nodes_end(start_up: Callable[..., Up], state: Path) -> None:
    first = start_up()
    first.wait_for("Ctrl-C stops everything.")
    first.process.kill()
    first.process.wait()
    second = start_up()

    def is_up() -> bool:
        nodes = {process.pid: _parent_of(process) for process in processes_of(state) if _is_node(process)}
        # What a node has just forked bears its command until it becomes another program.
        assert len([pid for pid, parent in nodes.items() if parent not in nodes]) <= 1, "two nodes on one directory"
        return "Ctrl-C stops everything." in second.said()

    assert wait_until(is_up, timeout_seconds=START_TIMEOUT_SECONDS), second.said()
    second.wait_for(create_task(second))


def test_it_cannot_be_started_twice(start_up: Callable[..., Up], rabbitmq: PrivateRabbitmq) -> None:
    first = start_up(RABBITMQ_URL=rabbitmq.url)
    first.wait_for("Ctrl-C stops everything.")
    second = start_up(RABBITMQ_URL=rabbitmq.url)
    assert second.ended() == 1
    assert second.said() == "CommandError: Vazifa runs already in another terminal. Stop that one first.\n"
    assert first.process.poll() is None


def test_a_busy_port_is_one_clear_line(start_up: Callable[..., Up], rabbitmq: PrivateRabbitmq) -> None:
    up = start_up(PORT=str(rabbitmq.amqp_port))
    assert up.ended() == 1
    assert up.said().splitlines()[-1].startswith(f"CommandError: Port {rabbitmq.amqp_port} is in use.")
    assert up.leftovers() == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "RABBITMQ_URL",
            "amqp://guest:guest@127.0.0.1:{closed}/",
            "Nothing answers at 127.0.0.1:{closed}, where RABBITMQ_URL points (",
        ),
        (
            "RABBITMQ_URL",
            "amqp://guest:guest@127.0.0.1:{management}/",
            "What answers at 127.0.0.1:{management}, where RABBITMQ_URL points, does not answer as RabbitMQ does: ",
        ),
        (
            "RABBITMQ_URL",
            "amqp://vazifa:wrong@127.0.0.1:{amqp}/",
            "RabbitMQ at 127.0.0.1:{amqp} refuses the user vazifa with this password: ",
        ),
        ("DATABASE_URL", "postgres://a:b@127.0.0.1:{closed}/c", "The database c cannot be used: "),
        ("CACHE_URL", "redis://127.0.0.1:{closed}/0", "The cache cannot be used: "),
    ],
    ids=["no RabbitMQ", "a web server", "a wrong password", "no database", "no cache"],
)
def test_a_server_that_cannot_be_used_is_one_clear_line_and_nothing_is_started(
    start_up: Callable[..., Up], rabbitmq: PrivateRabbitmq, closed_port: int, variable: str, value: str, line: str
) -> None:
    ports = {"closed": closed_port, "management": rabbitmq.management_port, "amqp": rabbitmq.amqp_port}
    up = start_up(**{"RABBITMQ_URL": rabbitmq.url, variable: value.format(**ports)})
    assert up.ended() == 1
    doing, refusal = up.said().splitlines()
    assert doing == "Logging in to database and RabbitMQ, and preparing the database …"
    assert refusal.startswith(f"CommandError: {line.format(**ports)}")
    assert refusal.endswith(f" `make run` needs none if {variable} is not set.")
    assert up.leftovers() == []


def test_a_state_folder_that_cannot_be_written_is_one_clear_line(start_up: Callable[..., Up], state: Path) -> None:
    (state / "up.lock").mkdir()
    up = start_up()
    assert up.ended() == 1
    assert up.said() == f"CommandError: Cannot start: [Errno 21] Is a directory: '{state / 'up.lock'}'.\n"


@pytest.mark.heavy
def test_a_node_that_fails_to_boot_is_one_clear_line(start_up: Callable[..., Up], state: Path) -> None:
    data = state / "rabbitmq" / "data" / "vazifa-broken@localhost"
    data.mkdir(parents=True)
    (state / "rabbitmq" / "node-name").write_text("vazifa-broken@localhost\n")
    (data / "schema.DAT").write_text("no schema at all")
    up = start_up()
    assert up.ended() == 1
    assert up.said().splitlines()[-1].startswith("CommandError: RabbitMQ ")
    assert "Traceback" not in up.said()
    assert up.leftovers() == []


@pytest.mark.parametrize("port", ["http", "0", "65536"])
def test_a_port_that_is_none_is_one_clear_line(port: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PORT": port, "STATE_DIR": str(tmp_path), "ENV_FILE": os.devnull}
    environment["DJANGO_SETTINGS_MODULE"] = "settings.development"
    up = subprocess.run(
        [sys.executable, "manage.py", "up"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert up.returncode == 1
    assert up.stderr == f"CommandError: PORT is {port!r}; it must be a number from 1 to 65535.\n"


@pytest.mark.heavy
def test_demo_walks_through_the_lesson(rabbitmq: PrivateRabbitmq) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RABBITMQ_URL"}
    demo = subprocess.run([*MANAGE, "demo"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for line in ("[Dramatiq] Yangi vazifa yaratildi: Yangi vazifa", "Vazifa yangilandi:", "Vazifa o'chirildi:"):
        assert line in demo.stdout
    assert "All of it works." in demo.stdout


@pytest.mark.heavy
def test_everything_ends_with_its_terminal(state: Path, rabbitmq: PrivateRabbitmq) -> None:
    terminal, far_end = os.openpty()
    log = state / "debug.log"
    variables = {"STATE_DIR": str(state), "PORT": str(free_port()), "LOG_FILE": str(log), "ENV_FILE": os.devnull}
    variables |= {"DJANGO_SETTINGS_MODULE": "settings.development", "RABBITMQ_URL": rabbitmq.url}
    up = subprocess.Popen(
        [*MANAGE, "up"],
        env={**os.environ, **variables},
        cwd=ROOT,
        stdout=far_end,
        stderr=far_end,
        start_new_session=True,
    )
    os.close(far_end)
    assert wait_until(lambda: log.exists() and "ready for action" in log.read_text(), timeout_seconds=90)
    os.close(terminal)
    up.send_signal(signal.SIGHUP)
    up.wait(STOP_TIMEOUT_SECONDS)
    assert wait_until(lambda: not processes_of(state), timeout_seconds=STOP_TIMEOUT_SECONDS), processes_of(state)
