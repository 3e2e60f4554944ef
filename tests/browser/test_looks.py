"""How the pages look: each is pictured in var/screenshots, fits a phone, and can be read."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from project.local.demo_user import PASSWORD, USERNAME
from project.local.stack import Stack
from settings.environment import VAR
from tests.browser.test_pages import log_in_to_admin

pytestmark = [pytest.mark.browser, pytest.mark.integration]

PHONE, DESK = 375, 1440  # pixels
HEIGHT = 900
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
EACH_ONCE: tuple[tuple[int, Scheme], ...] = ((PHONE, "dark"), (DESK, "light"))
AA, AA_LARGE = 4.5, 3.0

# Returns the texts whose contrast is too low, each with its contrast (WCAG 2.2, 1.4.3), as if no picture were behind.
LOW_CONTRAST = """([normal, large]) => {
  const rgba = (color) => { const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const ground = (element) => element
    ? over(rgba(getComputedStyle(element).backgroundColor), ground(element.parentElement)) : [255, 255, 255, 1];
  const linear = (part) => { const c = part / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const behind = ground(element);
    const [a, b] = [light(over(rgba(style.color), behind)), light(behind)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? large : normal;
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < least) found.push([text.slice(0, 40), contrast]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def pictures() -> Path:
    folder = VAR / "screenshots"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def complaints(page: Page) -> Iterator[list[str]]:
    """The errors in the browser's console, but for the status of the page itself; the test fails if there are any."""
    said: list[str] = []

    def note(message: Any) -> None:
        if message.type in {"error", "warning"} and message.location["url"] != page.url:
            said.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield said
    assert said == []


@pytest.fixture
def person(page: Page, stack: Stack) -> Page:
    log_in_to_admin(page, stack)
    return page


def picture(page: Page, file: Path, *, width: int = DESK, scheme: Scheme = "light") -> None:
    """Picture the whole page, and check that it is not wider than the window."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.screenshot(path=file.with_name(f"{file.name}-{width}-{scheme}.png"), full_page=True)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0, file.name


def assert_readable(page: Page, name: str) -> None:
    assert page.evaluate(LOW_CONTRAST, [AA, AA_LARGE]) == [], name


def test_a_text_that_cannot_be_read_is_found(page: Page) -> None:
    page.set_content('<p style="color: #777; background: #fff">grey</p><p style="color: #767676">darker</p>')
    assert [text for text, _ in page.evaluate(LOW_CONTRAST, [AA, AA_LARGE])] == ["grey"]


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("language", ["uz", "ru", "en"])
def test_the_front_page(page: Page, stack: Stack, pictures: Path, language: str) -> None:
    page.goto(f"{stack.url}?lang={language}")
    expect(page.locator("#state[data-is=ok]")).to_be_visible()
    for scheme in SCHEMES:
        for width in (PHONE, DESK):
            picture(page, pictures / f"front-{language}", width=width, scheme=scheme)
        assert_readable(page, scheme)
    assert page.locator("html").get_attribute("lang") == language


@pytest.mark.usefixtures("complaints")
def test_both_logins(page: Page, stack: Stack, pictures: Path) -> None:
    for name, path in {"login": "api-auth/login/", "admin-login": "admin/login/"}.items():
        page.goto(f"{stack.url}{path}")
        for width, scheme in EACH_ONCE:
            picture(page, pictures / name, width=width, scheme=scheme)
    page.goto(f"{stack.url}api-auth/login/")
    page.get_by_label("Username").fill(USERNAME)
    page.get_by_label("Password").fill(f"not {PASSWORD}")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".errorlist")).to_be_visible()
    for scheme in SCHEMES:
        picture(page, pictures / "login-refused", width=PHONE, scheme=scheme)
        assert_readable(page, scheme)


@pytest.mark.usefixtures("complaints")
def test_swagger_ui(page: Page, stack: Stack, pictures: Path) -> None:
    page.goto(f"{stack.url}api/docs/")
    expect(page.locator(".opblock").first).to_be_visible()
    for width, scheme in EACH_ONCE:
        picture(page, pictures / "docs", width=width, scheme=scheme)
    for count, name in enumerate(("tasks_list", "tasks_create", "tasks_partial_update"), 1):
        page.locator(f"[id$={name}] .opblock-summary").click()
        expect(page.get_by_role("button", name="Execute")).to_have_count(count)
    for width, scheme in EACH_ONCE:
        picture(page, pictures / "docs-open", width=width, scheme=scheme)


@pytest.mark.usefixtures("complaints")
def test_the_browsable_api(person: Page, stack: Stack, pictures: Path) -> None:
    account = {"username": USERNAME, "password": PASSWORD}
    token = person.request.post(f"{stack.url}api/token/", data=account).json()["access"]
    headers = {"Authorization": f"Bearer {token}"}
    text = {"title": "Uzun sarlavhali vazifa " * 5, "description": "Tavsif " * 50}
    task = person.request.post(f"{stack.url}tasks/", data=text, headers=headers).json()["id"]
    pages = {
        "tasks": "tasks/?ordering=-created_at",
        "task": f"tasks/{task}/",
        "task-not-found": "tasks/999999/",
        "task-activity": f"tasks/{task}/activity/",
        "activity": "activity/",
        "token": "api/token/",
    }
    for name, path in pages.items():
        person.goto(f"{stack.url}{path}")
        for width in (PHONE, DESK):
            picture(person, pictures / name, width=width)


@pytest.mark.usefixtures("complaints")
def test_the_admin(person: Page, stack: Stack, pictures: Path) -> None:
    lists = ("tasks/task/", "actors/activity/", "outbox/outboxmessage/", "auth/user/", "accounts/securityevent/")
    for path in ("", *lists):
        person.goto(f"{stack.url}admin/{path}")
        name = "-".join(["admin", *path.split("/")[:-1]])
        for width, scheme in EACH_ONCE:
            picture(person, pictures / name, width=width, scheme=scheme)
