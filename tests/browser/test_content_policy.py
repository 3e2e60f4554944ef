"""Pages work under their Content-Security-Policy: `refusals` fails a test in which it has stopped anything."""

import pytest
from playwright.sync_api import Page, expect

from project.local.demo_user import PASSWORD, USERNAME
from project.local.stack import Stack
from tests.browser.test_pages import log_in_to_admin

pytestmark = [pytest.mark.browser, pytest.mark.integration]

ADMIN_PAGES = [
    "",
    "auth/user/",
    "auth/user/add/",
    "auth/group/add/",
    "tasks/task/",
    "tasks/task/add/",
    "actors/activity/",
    "outbox/outboxmessage/",
    "password_change/",
]


@pytest.fixture
def admin(page: Page, stack: Stack) -> Page:
    log_in_to_admin(page, stack)
    return page


def test_every_page_of_the_admin_is_whole(admin: Page, stack: Stack) -> None:
    for path in ADMIN_PAGES:
        answer = admin.goto(f"{stack.url}admin/{path}")
        assert answer is not None
        assert answer.ok, path
        assert "script-src 'self';" in (answer.header_value("content-security-policy") or ""), path
        expect(admin.locator("#header")).to_have_css("background-color", "rgb(65, 118, 144)")


def test_the_admins_scripts_run(admin: Page, stack: Stack) -> None:
    admin.goto(f"{stack.url}admin/auth/group/add/")
    admin.get_by_label("Name:").fill("Guruh")
    chooser = admin.locator("#id_permissions_from")  # made by a script, from a plain list
    chooser.select_option(index=0)
    admin.locator("#id_permissions_add").click()
    expect(admin.locator("#id_permissions_to option")).to_have_count(1)
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.get_by_text("was added successfully")).to_be_visible()
    admin.locator("#action-toggle").check()  # checks all rows
    expect(admin.locator("tr.selected")).not_to_have_count(0)


def test_swagger_ui_sends_a_request_and_shows_the_answer(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}api/docs/")
    operation = page.locator("#operations-tokens-tokens_obtain")
    operation.locator(".opblock-summary").click()
    operation.locator("textarea").fill(f'{{"username": "{USERNAME}", "password": "{PASSWORD}"}}')
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response .response-col_status")).to_have_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text("access")


def test_the_browsable_api_opens_its_menus_filters_and_forms(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}api-auth/login/?next=/tasks/")
    page.get_by_label("Username").fill(USERNAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.locator(".format-selection .dropdown-toggle").first.click()
    expect(page.locator(".format-selection .dropdown-menu").first).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Filters").click()
    expect(page.locator("#filtersModal")).to_be_visible()
    page.locator("#filtersModal select").select_option("false")
    page.locator("#filtersModal button", has_text="Submit").click()
    expect(page).to_have_url(f"{stack.url}tasks/?completed=false&owner=&owner_username=")
    expect(page.locator(".response-info")).to_contain_text("HTTP 200 OK")
    raw = page.locator("#post-generic-content-form")
    raw.locator("textarea").fill('{"title": "Xom vazifa"}')
    raw.get_by_role("button", name="POST").click()
    expect(page.locator(".response-info")).to_contain_text("HTTP 201 Created")
    page.get_by_role("link", name=USERNAME).click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in").click()
    expect(page.get_by_label("Username")).to_be_visible()


def test_a_script_in_a_page_does_not_run(page: Page, stack: Stack, refusals: list[str]) -> None:
    page.goto(f"{stack.url}admin/login/")
    add = "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
    page.evaluate(add + "document.body.append(script)")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = true\">')")
    page.wait_for_timeout(0)
    assert page.evaluate("window.ran") is None
    assert any("script-src" in text for text in refusals)
    refusals.clear()
