"""A real browser, in front of the running service."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from tests.conftest import skip_or_fail

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Chromium requests only the page under test: no update, no sync, no other host.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def refusals() -> Iterator[list[str]]:
    """What the browser refuses to run or load because of the Content-Security-Policy; the test fails if any is left."""
    refused: list[str] = []
    yield refused
    assert refused == []


@pytest.fixture
def page(refusals: list[str]) -> Iterator[Page]:
    """An empty page; a request of it to another host than 127.0.0.1 fails the test."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        skip_or_fail("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url) if _is_elsewhere(request.url) else None)
        page.context.on("console", lambda message: refusals.append(message.text) if _is_refusal(message) else None)
        yield page
        browser.close()
    assert elsewhere == []


def _is_refusal(message: ConsoleMessage) -> bool:
    return message.type == "error" and "Content Security Policy" in message.text


def _is_elsewhere(url: str) -> bool:
    return url.startswith(("http:", "https:")) and not url.startswith("http://127.0.0.1:")
