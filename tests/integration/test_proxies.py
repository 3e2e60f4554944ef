"""What a request says of its scheme and prefix is believed from the named proxies alone, by a real gunicorn."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web

pytestmark = pytest.mark.integration

PROXY = "127.0.0.2"
STRANGER = "127.0.0.3"
CLAIMS = [
    {"X-Forwarded-Proto": "https"},
    {"X_Forwarded_Proto": "https"},
    {"X-Forwarded-Ssl": "on"},
    {"X-Forwarded-Protocol": "ssl"},
    {"Forwarded": "proto=https"},
]


@contextmanager
def production(state: Path, trusted: str) -> Iterator[Web]:
    variables = {
        "DJANGO_SETTINGS_MODULE": "settings.production",
        "SECRET_KEY": secrets.token_hex(32),
        "DATABASE_URL": f"sqlite:///{state / 'db.sqlite3'}",
        "RABBITMQ_URL": "amqp://user:unpublished@127.0.0.1:1/",
        "ALLOWED_HOSTS": "127.0.0.1",
        "STATIC_ROOT": str(state / "static"),
        "TRUSTED_PROXIES": trusted,
    }
    (state / "static").mkdir()
    (state / "static" / "page.css").write_text("body {}")
    with Web(state, **variables) as web:
        yield web


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with production(tmp_path_factory.mktemp("web"), f"10.9.8.0/24,{PROXY}") as web:
        yield web


def ask(web: Web, address: str, path: str = "/", **headers: str) -> httpx.Response:
    """Ask from an address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=web.client.base_url, transport=transport, timeout=TIMEOUT_SECONDS) as client:
        return client.get(path, headers=headers)


def test_https_is_believed_from_the_proxy(web: Web) -> None:
    answer = ask(web, PROXY, **{"X-Forwarded-Proto": "https"})
    assert answer.status_code == 200
    assert answer.json()["tasks"] == f"https://127.0.0.1:{web.port}/tasks/"
    assert "Strict-Transport-Security" in answer.headers


def test_a_static_file_is_as_safe_as_any_other_response(web: Web) -> None:
    answer = ask(web, PROXY, "/static/page.css", **{"X-Forwarded-Proto": "https"})
    assert (answer.status_code, answer.text) == (200, "body {}")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(web, STRANGER, "/static/page.css").status_code == 301


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
@pytest.mark.parametrize("address", [STRANGER, "127.0.0.1"])
def test_https_is_not_believed_from_any_other_address(web: Web, address: str, claim: dict[str, str]) -> None:
    answer = ask(web, address, **claim)
    assert answer.status_code == 301
    assert answer.headers["Location"].startswith("https://127.0.0.1")
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("claim", CLAIMS[1:], ids=str)
def test_from_the_proxy_too_only_one_header_counts(web: Web, claim: dict[str, str]) -> None:
    assert ask(web, PROXY, **claim).status_code == 301
    assert ask(web, PROXY, **claim, **{"X-Forwarded-Proto": "http"}).status_code == 301


def test_the_prefix_is_believed_from_the_proxy_alone(web: Web) -> None:
    prefixed = {"SCRIPT_NAME": "/prefix", "X-Forwarded-Proto": "https"}
    answer = ask(web, PROXY, "/prefix/", **prefixed)
    assert answer.json()["tasks"] == f"https://127.0.0.1:{web.port}/prefix/tasks/"
    assert ask(web, STRANGER, "/prefix/health/live/", **prefixed).status_code == 301
    health = ask(web, STRANGER, "/health/live/", SCRIPT_NAME="/health")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


def test_where_no_proxy_is_named_nobody_is_believed(tmp_path: Path) -> None:
    with production(tmp_path, "") as web:
        for address in ("127.0.0.1", PROXY):
            assert ask(web, address, **{"X-Forwarded-Proto": "https"}).status_code == 301
            assert ask(web, address, "/health/live/", SCRIPT_NAME="/health").json() == {"status": "ok"}
