"""Tokens over several web servers with one database: what ends them in one process, ends them in all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.stack import ROOT
from tests.integration.gunicorn_server import Web

pytestmark = pytest.mark.integration

LOGIN = {"username": "user1", "password": "a-password-for-tests"}
PARALLEL = 12


class Service:
    """Two web servers, each a process of its own, and the commands of an operator."""

    def __init__(self, state: Path, database_url: str) -> None:
        self.variables = {"DATABASE_URL": database_url, "THROTTLE_ANON": "off", "STREAM_CLIENTS": "2"}
        self._environment = {"STATE_DIR": str(state), "LOG_FILE": "", "ENV_FILE": os.devnull}
        self._environment["DJANGO_SETTINGS_MODULE"] = "settings.development"
        self.webs: list[Web] = []

    def manage(self, *arguments: str) -> None:
        environment = {**os.environ, **self._environment, **self.variables}
        subprocess.run([sys.executable, "manage.py", *arguments], env=environment, cwd=ROOT, check=True, timeout=120)

    def change_user(self, code: str) -> None:
        """Run code on `user`, in a third process."""
        found = "from django.contrib.auth.models import User; user = User.objects.get(username='user1')"
        self.manage("shell", "-c", f"{found}; {code}")

    def post(self, web: int, path: str, **body: str) -> httpx.Response:
        return self.webs[web].client.post(f"/api/token/{path}", json=body)

    def sign_in(self) -> dict[str, str]:
        answer = self.post(0, "", **LOGIN)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, str] = answer.json()
        return tokens

    def statuses(self, tokens: dict[str, str]) -> set[int]:
        """Return what each web server answers at access and verify."""
        bearer = {"Authorization": f"Bearer {tokens['access']}"}
        answers = [web.client.get("/tasks/", headers=bearer) for web in self.webs]
        answers += [self.post(web, "verify/", token=tokens[kind]) for web in (0, 1) for kind in tokens]
        return {answer.status_code for answer in answers}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    state = tmp_path_factory.mktemp("tokens")
    url = f"sqlite:///{state / 'db.sqlite3'}"
    if request.param == "postgresql":
        server: PrivatePostgresql = request.getfixturevalue("postgresql")
        server.create_database("tokens")
        url = server.url("tokens")
    service = Service(state, url)
    service.manage("migrate", "--verbosity", "0")
    service.manage("shell", "-c", f"from django.contrib.auth.models import User; User.objects.create_user(**{LOGIN})")
    with ExitStack() as stack:
        for name in ("one", "two"):
            own = state / name
            own.mkdir()
            service.webs.append(stack.enter_context(Web(own, WEB_CONCURRENCY="1", **service.variables)))
        yield service


@pytest.mark.parametrize(
    "code",
    [
        f"user.set_password('{LOGIN['password']}'); user.save()",  # the same one again has another hash
        "User.objects.filter(pk=user.pk).update(is_active=False)",
        "from project.accounts.tokens.sign_ins import end_all; end_all(user)",
    ],
)
def test_what_a_third_process_does_to_a_user_ends_their_tokens_in_both_web_servers(service: Service, code: str) -> None:
    tokens = service.sign_in()
    assert service.statuses(tokens) == {200}, "both processes know the token now"

    service.change_user(code)
    try:
        assert service.statuses(tokens) == {401}
        assert [service.post(web, "refresh/", refresh=tokens["refresh"]).status_code for web in (1, 0)] == [401, 401]
    finally:
        service.change_user("user.is_active = True; user.save()")


def test_a_logout_at_one_web_server_ends_the_sign_in_at_the_other(service: Service) -> None:
    tokens = service.sign_in()
    assert service.statuses(tokens) == {200}

    assert service.post(0, "logout/", token=tokens["refresh"]).status_code == 200

    assert service.statuses(tokens) == {401}


def test_of_parallel_refreshes_at_both_web_servers_one_succeeds_and_its_tokens_are_dead(service: Service) -> None:
    tokens, bystander = service.sign_in(), service.sign_in()

    def refresh(number: int) -> httpx.Response:
        return service.post(number % 2, "refresh/", refresh=tokens["refresh"])

    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(refresh, range(PARALLEL)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [401] * (PARALLEL - 1)
    [fresh] = [answer.json() for answer in answers if answer.status_code == 200]
    assert service.statuses(fresh) == {401}
    assert service.statuses(bystander) == {200}


@pytest.mark.heavy
def test_a_stream_ends_at_its_next_heartbeat_after_a_logout_at_another_web_server(service: Service) -> None:
    tokens = service.sign_in()
    headers: dict[str, Any] = {"Authorization": f"Bearer {tokens['access']}", "Accept": "text/event-stream"}

    with service.webs[0].client.stream("GET", "/activity/stream/", headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry:")
        assert service.post(1, "logout-everywhere/", token=tokens["refresh"]).status_code == 200
        assert list(lines).count(": heartbeat") <= 1, "it ended, long before the ten minutes of a stream"
