"""Two hundred clients that are as slow as they can be, with and without a token, cost the others no answer."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.gunicorn_server import Web
from tests.integration.slow_clients import SlowClients

pytestmark = pytest.mark.integration

ATTACKERS = 200
ROUNDS = 3
PASSWORD = "a-password-for-tests"
STATIC = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
HOST = b"Host: 127.0.0.1\r\n"
HEAD = b"GET /health/live/ HTTP/1.1\r\n" + HOST + b"X-Slow: "
BODY = b"POST /api/token/ HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"

# More than the kernel keeps for a client that does not read.
FILL = f"""
from django.contrib.auth.models import User
from tasks.models import Task

users = [User.objects.create_user(name, password={PASSWORD!r}) for name in ("honest", "slow1", "slow2")]
Task.objects.bulk_create(Task(title="Bir", description="x" * 20_000, owner=users[0]) for _ in range(500))
"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A web server of one process, as it is set up by default, with ten megabytes of tasks."""
    with Web(tmp_path_factory.mktemp("web"), THROTTLE_ANON="off", THROTTLE_USER="off") as web:
        web.run("shell", "--no-imports", "-c", FILL)
        yield web


def token(web: Web, name: str) -> str:
    answer = web.client.post("/api/token/", json={"username": name, "password": PASSWORD})
    return str(answer.raise_for_status().json()["access"])


def answered(web: Web) -> list[int]:
    """Return the status of each of an honest client's requests, each over a new connection."""
    statuses = []
    for _round in range(ROUNDS):
        with httpx.Client(base_url=web.client.base_url, timeout=30) as client:
            access = client.post("/api/token/", json={"username": "honest", "password": PASSWORD}).json()["access"]
        headers = {"Authorization": f"Bearer {access}"}
        for path in ("/tasks/?page_size=2", "/health/live/", "/health/ready/", STATIC):
            with httpx.Client(base_url=web.client.base_url, timeout=30) as client:
                statuses.append(client.get(path, headers=headers).status_code)
    return statuses


def get(path: str, *fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_clients_that_drip_their_head_or_body_or_send_nothing_keep_no_others_waiting(web: Web) -> None:
    with (
        SlowClients(web.port, ATTACKERS, HEAD, drips=True),
        SlowClients(web.port, ATTACKERS, BODY, drips=True),
        SlowClients(web.port, ATTACKERS, b""),
    ):
        assert answered(web) == [200] * 4 * ROUNDS


@pytest.mark.parametrize(
    "fields",
    [
        (),
        pytest.param(("Connection: close",), marks=pytest.mark.heavy),
        pytest.param(("Range: bytes=10-",), marks=pytest.mark.heavy),
    ],
)
def test_clients_that_drip_a_static_file_keep_no_others_waiting(web: Web, fields: tuple[str, ...]) -> None:
    # So many that the kernel does not take them all.
    with SlowClients(web.port, ATTACKERS, 8 * get(STATIC, *fields), reads=True):
        assert answered(web) == [200] * 4 * ROUNDS


def test_clients_that_drip_exports_or_pages_keep_no_others_waiting(web: Web) -> None:
    tokens = [f"Authorization: Bearer {token(web, name)}" for name in ("slow1", "slow2")]
    requests = [get(path, each) for path in ("/tasks/export/", "/tasks/?page_size=100") for each in tokens]
    with SlowClients(web.port, ATTACKERS, *requests, reads=True):
        assert answered(web) == [200] * 4 * ROUNDS
        # Their own places are taken, and no more than these.
        access = {"Authorization": f"Bearer {token(web, 'honest')}"}
        refused = web.client.get("/tasks/export/", headers=access)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")


def test_more_silent_clients_than_there_are_connections_lock_no_others_out(tmp_path: Path) -> None:
    with (
        Web(tmp_path, WEB_CONNECTIONS="50", WEB_THREADS="4", STREAM_CLIENTS="0", EXPORT_CLIENTS="0") as web,
        SlowClients(web.port, ATTACKERS, b"", HEAD, drips=True),
    ):
        assert [web.client.get("/health/live/").status_code for _ in range(20)] == [200] * 20
        assert [httpx.get(f"{web.client.base_url}/health/live/").status_code for _ in range(20)] == [200] * 20
