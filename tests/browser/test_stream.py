"""A real EventSource, and the clients of docs/api.md in JavaScript, as they stand on the page, follow the activity."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from project.local.servers.postgresql import Installation, PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.stack import ROOT
from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web
from tests.integration.test_stream_clients import APPLICATION, MAKE_USER, PASSWORD, REFUSED

pytestmark = [pytest.mark.browser, pytest.mark.integration]

CODE = "\n".join(re.findall(r"```javascript\n(.*?)```", (ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL))
STREAM = "**/activity/stream/"


@pytest.fixture(scope="module")
def postgresql(
    postgresql_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivatePostgresql]:
    """A server that a test may stop."""
    directory = tmp_path_factory.mktemp("postgresql")
    with PrivatePostgresql(installation=postgresql_installation, directory=directory, durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def web(postgresql: PrivatePostgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The service with streams that end after a second."""
    state: Path = tmp_path_factory.mktemp("web")
    with Web(state, application=APPLICATION, DATABASE_URL=postgresql.url()) as web:
        web.run("shell", "--no-imports", "-c", MAKE_USER)
        yield web


@pytest.fixture
def log(web: Web) -> Callable[[], list[int]]:
    """Log two events, and return their ids."""
    return lambda: list(web.client.get("/log/2/").raise_for_status().json())


@pytest.fixture
def signed_in(page: Page, web: Web) -> Iterator[Page]:
    """A page of the service with a session and the functions of docs/api.md; afterwards there are places again."""
    page.goto(f"{web.client.base_url}/api-auth/login/?next=/tasks/")
    page.get_by_label("Username").fill("follower")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/tasks/")
    page.evaluate(f"() => {{ {CODE}\n Object.assign(window, {{ follow, followInPage, seen: [] }}); }}")
    yield page
    web.client.get("/places/16/")


def follow_in_page(page: Page) -> None:
    page.evaluate("""() => {
        window.source = followInPage((event) => seen.push(event), () => { window.hasEnded = true; });
        source.addEventListener("open", () => { window.wasOpen = true; });
        source.addEventListener("message", () => { window.gotBlockWithoutData = true; });
    }""")


def wait_for(page: Page, expression: str) -> None:
    """Wait until an expression is true; Playwright's own wait needs `eval`, which the page's policy forbids."""
    assert wait_until(lambda: bool(page.evaluate(expression)), timeout_seconds=TIMEOUT_SECONDS), expression


def watch_refusals(web: Web) -> Callable[[], bool]:
    """Return what tells whether a client has been refused since this call."""
    before = web.log.read_text("utf-8").count(REFUSED)
    return lambda: web.log.read_text("utf-8").count(REFUSED) > before


def seen_ids(page: Page, count: int) -> Any:
    """Return the ids of the events that the page has got, once they are so many."""
    wait_for(page, f"seen.length >= {count}")
    return page.evaluate("seen.map((event) => event.id)")


def test_an_event_source_comes_back_and_gets_what_it_has_missed(
    signed_in: Page, web: Web, postgresql: PrivatePostgresql, log: Callable[[], list[int]]
) -> None:
    follow_in_page(signed_in)
    wait_for(signed_in, "window.wasOpen")
    logged = log()
    assert seen_ids(signed_in, len(logged)) == logged

    was_refused = watch_refusals(web)
    web.client.get("/places/0/")
    assert wait_until(was_refused, timeout_seconds=TIMEOUT_SECONDS)
    logged += log()
    web.client.get("/places/16/")
    assert seen_ids(signed_in, len(logged)) == logged

    was_refused = watch_refusals(web)
    postgresql.stop()
    assert wait_until(was_refused, timeout_seconds=TIMEOUT_SECONDS)
    postgresql.start()
    logged += log()
    assert seen_ids(signed_in, len(logged)) == logged

    for worker in web.workers():
        worker.kill()
        worker.wait(TIMEOUT_SECONDS)
    assert wait_until(web.answers, timeout_seconds=TIMEOUT_SECONDS)
    logged += log()
    assert seen_ids(signed_in, len(logged)) == logged
    assert signed_in.evaluate("[window.hasEnded, window.gotBlockWithoutData]") == [None, None]


def test_it_would_have_given_up_at_what_other_clients_get(signed_in: Page, web: Web) -> None:
    def ask_as_another_client(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "accept": "*/*"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        route.fulfill(response=answer)

    signed_in.route(STREAM, ask_as_another_client)
    web.client.get("/places/0/")
    follow_in_page(signed_in)
    wait_for(signed_in, "window.hasEnded")
    assert signed_in.evaluate("source.readyState") == 2


def test_it_gives_up_where_nobody_is_signed_in(signed_in: Page) -> None:
    signed_in.context.clear_cookies()
    follow_in_page(signed_in)
    wait_for(signed_in, "window.hasEnded")


def test_a_client_with_a_token_comes_back_and_gets_what_it_has_missed(
    signed_in: Page, web: Web, log: Callable[[], list[int]]
) -> None:
    asked = {"username": "follower", "password": PASSWORD}
    access = web.client.post("/api/token/", json=asked).raise_for_status().json()["access"]
    begin, *logged = [*log(), *log()]
    signed_in.evaluate(
        """([access, begin]) => { follow("", async () => access, (event) => seen.push(event), begin); }""",
        [access, str(begin)],
    )
    assert seen_ids(signed_in, len(logged)) == logged

    was_refused = watch_refusals(web)
    web.client.get("/places/0/")
    assert wait_until(was_refused, timeout_seconds=TIMEOUT_SECONDS)
    logged += log()
    web.client.get("/places/16/")
    assert seen_ids(signed_in, len(logged)) == logged
    assert signed_in.evaluate("seen[0].title") == "Vazifa\u2028bir"


def test_a_client_whose_token_is_refused_says_so(signed_in: Page) -> None:
    text = signed_in.evaluate("() => follow('', async () => 'forged', () => {}).catch((error) => error.message)")
    assert text.startswith("401: ")
