"""Logins over real web servers that share nothing but a database."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.stack import MANAGE, ROOT
from tests.conftest import PASSWORD
from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web
from tests.integration.held_passwords import COMPUTED, MAY_END

pytestmark = pytest.mark.integration

DATABASE = "logins"
CROWD = 30
LIMIT, PLACES = 6, 2


@dataclass
class Site:
    """A database with a user, and what web servers on it have in common."""

    directory: Path
    variables: dict[str, str]

    @property
    def hashes(self) -> int:
        return len(Path(self.variables[COMPUTED]).read_bytes())

    def let_hashes_end(self) -> None:
        Path(self.variables[MAY_END]).touch()

    def web(self, name: str, **variables: str) -> Web:
        (self.directory / name).mkdir()
        return Web(self.directory / name, **{**self.variables, **variables})


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db.sqlite3'}"
    server: PrivatePostgresql = request.getfixturevalue("postgresql")
    server.drop_database(DATABASE)
    server.create_database(DATABASE)
    return server.url(DATABASE)


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    computed, may_end = tmp_path / "computed", tmp_path / "may-end"
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.integration.held_passwords",
        "DATABASE_URL": database_url,
        "THROTTLE_ANON": "off",
        "CACHE_URL": "",
        COMPUTED: str(computed),
        MAY_END: str(may_end),
    }
    may_end.touch()
    created = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "ENV_FILE": os.devnull, "LOG_FILE": ""}
    for command in (["migrate"], ["createsuperuser", "--noinput", "--username=user1", "--email="]):
        environment = {**os.environ, **created, **variables, "STATE_DIR": str(tmp_path)}
        subprocess.run([*MANAGE, *command], env=environment, cwd=ROOT, capture_output=True, check=True)
    computed.write_bytes(b"")
    may_end.unlink()
    yield Site(tmp_path, variables)
    may_end.touch()


def sign_in(web: Web, username: str = "user1", *, password: str = "wrong") -> httpx.Response:  # noqa: S107
    return web.client.post("/api/token/", json={"username": username, "password": password})


def counted(answers: Sequence[Future[httpx.Response]]) -> Counter[int]:
    return Counter(answer.result(TIMEOUT_SECONDS).status_code for answer in answers)


def test_two_servers_without_a_shared_cache_check_no_more_passwords_than_one_may(site: Site) -> None:
    site.let_hashes_end()
    limits = {"LOGIN_ATTEMPTS": f"{LIMIT}/hour", "LOGIN_HASHES": str(CROWD)}
    with ExitStack() as running:
        webs = [running.enter_context(site.web(name, **limits)) for name in ("one", "two")]
        threads = running.enter_context(ThreadPoolExecutor(CROWD))
        answers = [threads.submit(sign_in, webs[number % 2]) for number in range(CROWD)]

        assert counted(answers) == {401: LIMIT, 429: CROWD - LIMIT}
        assert {sign_in(web, password=PASSWORD).status_code for web in webs} == {429}
        assert {sign_in(web, "user2").status_code for web in webs} == {401}
    assert site.hashes == LIMIT + 2


def test_parallel_wrong_logins_leave_the_service_to_others(site: Site) -> None:
    few = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "8", "STREAM_CLIENTS": "0", "LOGIN_HASHES": str(PLACES)}
    with site.web("web", **few) as web, ThreadPoolExecutor(CROWD) as threads:
        answers = [threads.submit(sign_in, web, f"user{number}") for number in range(CROWD)]
        assert wait_until(lambda: _done(answers) == CROWD - PLACES, timeout_seconds=TIMEOUT_SECONDS)

        # The others' passwords are being checked all the while.
        paths = ["/health/live/", "/health/ready/", "/admin/login/"] * 10
        assert [web.client.get(path).status_code for path in paths] == [200] * len(paths)
        assert site.hashes == PLACES
        site.let_hashes_end()
        assert counted(answers) == {401: PLACES, 503: CROWD - PLACES}
        assert {answer.result().headers.get("Retry-After") for answer in answers} == {None, "2"}
        assert sign_in(web, password=PASSWORD).status_code == 200


def _done(answers: Sequence[Future[Any]]) -> int:
    return sum(answer.done() for answer in answers)
