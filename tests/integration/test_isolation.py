"""Over real HTTP, in front of a PostgreSQL whose transactions are stricter by default: no change is refused for it."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.postgresql import PrivatePostgresql
from project.local.stack import MANAGE, ROOT
from tests.integration.gunicorn_server import Web

pytestmark = pytest.mark.integration

CHANGES, CLIENTS = 60, 12


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_concurrent_changes_of_one_task_all_succeed(
    postgresql: PrivatePostgresql, tmp_path: Path, isolation: str
) -> None:
    name = f"isolated_{isolation.replace(' ', '_')}"
    postgresql.create_database(name)
    with psycopg.connect(postgresql.url(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation TO '{isolation}'")
    variables = {"DATABASE_URL": postgresql.url(name), "THROTTLE_USER": "off", "WEB_CONCURRENCY": "2"}
    own = {"ENV_FILE": os.devnull, "DJANGO_SETTINGS_MODULE": "settings.development", "LOG_FILE": "", **variables}
    for command in (["migrate", "--verbosity", "0"], ["createsuperuser", "--noinput", "--username", USERNAME]):
        environment = {**os.environ, **own, "DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_EMAIL": ""}
        subprocess.run([*MANAGE, *command], env=environment, cwd=ROOT, check=True)
    with Web(tmp_path, **variables) as web:
        token = web.client.post("/api/token/", json={"username": USERNAME, "password": PASSWORD}).json()["access"]
        web.client.headers["Authorization"] = f"Bearer {token}"
        task = web.client.post("/tasks/", json={"title": "one"}).json()

        def change(number: int) -> httpx.Response:
            return web.client.patch(f"/tasks/{task['id']}/", json={"title": f"title {number}"})

        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = list(clients.map(change, range(CHANGES)))
        assert [answer.status_code for answer in answers] == [200] * CHANGES
        events = web.client.get(f"/tasks/{task['id']}/activity/").json()["results"]
        assert events[0]["version"] == CHANGES + 1
