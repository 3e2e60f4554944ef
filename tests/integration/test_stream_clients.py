"""The clients of docs/api.md, from the page, as it is: they get every event once, whatever ends their streams.

Those in JavaScript are run by a browser: `tests/browser/test_stream.py`.
"""

import re
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from project.local.servers.process import wait_until
from project.local.stack import ROOT
from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web

pytestmark = pytest.mark.integration

PASSWORD = "a-password-for-tests"
MAKE_USER = f"""
from django.contrib.auth.models import User

User.objects.create_user("follower", password={PASSWORD!r})
"""
APPLICATION = "tests.integration.short_streams"
REFUSED = "stream: refused status=503"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The service with short streams, and a user."""
    with Web(tmp_path_factory.mktemp("web"), application=APPLICATION) as web:
        web.run("shell", "--no-imports", "-c", MAKE_USER)
        yield web


@pytest.fixture
def follow() -> Callable[..., Iterator[dict[str, Any]]]:
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 – the page is ours
    function: Callable[..., Iterator[dict[str, Any]]] = names["follow"]
    return function


def test_the_client_in_python_gets_each_event_once(web: Web, follow: Callable[..., Iterator[dict[str, Any]]]) -> None:
    def token() -> str:
        asked = {"username": "follower", "password": PASSWORD}
        return str(web.client.post("/api/token/", json=asked).raise_for_status().json()["access"])

    def log(count: int) -> list[int]:
        ids: list[int] = web.client.get(f"/log/{count}/").json()
        return ids

    def read() -> None:
        seen.extend(islice(follow(service, token, str(before)), 6))

    seen: list[dict[str, Any]] = []
    service = str(web.client.base_url).rstrip("/")
    [before] = log(1)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    logged = log(2)
    assert web.client.get("/places/0/").is_success
    assert wait_until(lambda: REFUSED in web.log.read_text("utf-8"), timeout_seconds=TIMEOUT_SECONDS)
    logged += log(2)
    assert web.client.get("/places/16/").is_success
    logged += log(2)
    reader.join(TIMEOUT_SECONDS)

    assert [event["id"] for event in seen] == logged
    assert seen[-1]["title"] == "Vazifa\u2028bir"


def test_the_client_in_python_ends_when_its_token_is_refused(
    web: Web, follow: Callable[..., Iterator[dict[str, Any]]]
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        next(follow(f"http://127.0.0.1:{web.port}", lambda: "forged"))
