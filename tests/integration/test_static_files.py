"""The service as production runs it compresses static files, once, when they are collected, and nothing else."""

from collections.abc import Iterator

import httpx
import pytest

from project.local.servers.process import wait_until
from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web
from tests.integration.test_proxies import PROXY, ask, production

pytestmark = pytest.mark.integration

STYLE = "admin/css/base.css"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with production(tmp_path_factory.mktemp("web"), PROXY) as web:
        web.run("collectstatic", "--noinput")
        for worker in web.workers():  # the next one looks for files again
            worker.terminate()
            worker.wait(TIMEOUT_SECONDS)
        assert wait_until(web.answers, timeout_seconds=TIMEOUT_SECONDS)
        yield web


def get(web: Web, name: str, accepted: str = "identity") -> httpx.Response:
    return ask(web, PROXY, f"/static/{name}", **{"X-Forwarded-Proto": "https", "Accept-Encoding": accepted})


def test_a_static_file_is_sent_compressed_to_who_accepts_that(web: Web) -> None:
    plain, compressed = get(web, STYLE), get(web, STYLE, "gzip, br")

    assert (plain.headers.get("Content-Encoding"), compressed.headers["Content-Encoding"]) == (None, "gzip")
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert plain.content == compressed.content
    assert int(compressed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2


def test_so_is_one_under_its_lasting_name(web: Web) -> None:
    page = ask(web, PROXY, "/admin/login/", **{"X-Forwarded-Proto": "https"}).text
    [name] = [part.split('"')[0] for part in page.split('"/static/') if part.startswith("admin/css/base.")]
    answer = get(web, name, "gzip")

    assert name != STYLE
    assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
    assert "immutable" in answer.headers["Cache-Control"]


def test_an_answer_of_the_api_is_not_compressed(web: Web) -> None:
    answer = ask(web, PROXY, "/api/schema/", **{"X-Forwarded-Proto": "https", "Accept-Encoding": "gzip, br"})

    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert len(answer.content) > 10_000
