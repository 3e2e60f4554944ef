"""The page at `/`: its examples do what they say, and it says whether all is well."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from project.local.demo_user import USERNAME
from project.local.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def _run_by(*command: str) -> Callable[[str, Page], str]:
    def run(example: str, page: Page) -> str:
        return subprocess.run([*command, example], capture_output=True, text=True, check=True).stdout

    return run


def _run_in_browser(example: str, page: Page) -> str:
    with page.expect_console_message() as printed:
        page.evaluate(f"async () => {{ {example} }}")
    return json.dumps(printed.value.args[0].json_value())


RUN: dict[str, Callable[[str, Page], str]] = {
    "curl": _run_by("bash", "-euo", "pipefail", "-c"),
    "Python": _run_by(sys.executable, "-c"),
    "JavaScript": _run_in_browser,
}


def copied(page: Page, language: str) -> str:
    """Return what the clipboard has after a press of an example's button."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name=f"Copy: {language}")
    button.click()
    expect(button).to_have_text("Copied")
    return str(page.evaluate("navigator.clipboard.readText()"))


@pytest.mark.parametrize("language", RUN)
def test_an_example_creates_a_task_as_it_stands(page: Page, stack: Stack, language: str) -> None:
    page.goto(stack.url)
    example = page.get_by_role("region", name=language, exact=True).inner_text()
    assert copied(page, language) == example

    printed = RUN[language](example, page)

    task = json.loads(printed.replace("'", '"').replace("False", "false"))  # Python prints a dict
    assert (task["title"], task["owner"], task["version"]) == ("Yangi vazifa", USERNAME, 1)


def test_it_says_that_all_is_well(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    expect(page.get_by_role("status")).to_have_text("All is well.")


STATES: list[tuple[dict[str, Any] | None, str]] = [
    ({"database": "ok", "queues": "ok", "messages": "late"}, "Background work is late"),
    ({"database": "ok", "queues": "shared with another installation", "messages": "late"}, "stands still"),
    ({"database": "unavailable"}, "The database is not available"),
    (None, "The service does not answer"),
]


@pytest.mark.parametrize(("answer", "text"), STATES)
def test_it_says_what_is_not_well(page: Page, stack: Stack, answer: dict[str, Any] | None, text: str) -> None:
    page.route("**/health/ready/", lambda route: route.fulfill(json=answer) if answer else route.abort())
    page.goto(stack.url)
    expect(page.get_by_role("status")).to_contain_text(text)


def test_it_can_be_used_by_keyboard_alone(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    expect(page.get_by_role("button", name="Copy: curl")).to_be_visible()
    for name in ("Vazifa", "Oʻzbekcha", "English", "Русский", "Copy"):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_text(name)
        assert focused.evaluate("element => parseFloat(getComputedStyle(element).outlineWidth)") >= 2
