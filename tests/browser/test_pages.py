"""The pages as users see them, in Chromium."""

import re

import pytest
from playwright.sync_api import Page, expect

from project.local.demo_user import PASSWORD, USERNAME
from project.local.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def log_in_to_admin(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}admin/")
    page.get_by_label("Username").fill(USERNAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()


def test_a_person_creates_a_task_in_the_admin_and_sees_it_listed(page: Page, stack: Stack) -> None:
    log_in_to_admin(page, stack)
    page.goto(f"{stack.url}admin/tasks/task/add/")
    page.get_by_label("Title").fill("Brauzer vazifasi")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    row = page.locator("#result_list tbody tr").filter(has_text="Brauzer vazifasi")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(USERNAME)


def test_swagger_ui_renders_every_operation(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}api/docs/")
    expect(page.locator(".info .title")).to_contain_text("Vazifa")
    expect(page.locator("#operations-tasks-tasks_create")).to_be_visible()
    expect(page.locator(".opblock")).to_have_count(20)


def test_swagger_ui_takes_a_token_alone_and_keeps_it_over_a_reload(page: Page, stack: Stack) -> None:
    account = {"username": USERNAME, "password": PASSWORD}
    token = page.request.post(f"{stack.url}api/token/", data=account).json()["access"]
    page.goto(f"{stack.url}api/docs/")
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.locator(".auth-container")).to_have_count(1)
    page.locator(".auth-container input").fill(token)
    page.get_by_role("button", name="Apply credentials").click()
    page.reload()
    operation = page.locator("[id$=tasks_list]")
    operation.locator(".opblock-summary").click()
    expect(page).to_have_url(re.compile("#/.*tasks_list$"))
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response .response-col_status")).to_have_text("200")
    expect(answer).to_contain_text("Request duration")


def test_the_front_door_leads_on_and_the_login_leads_back(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Username").fill(USERNAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name=USERNAME)).to_be_visible()
    expect(page).to_have_url(f"{stack.url}tasks/")
    expect(page.get_by_role("heading", name="Task List")).to_be_visible()
    form = page.locator("form:has(textarea)")
    form.locator("textarea").fill('{"title": "Ko\'rib chiqiladigan vazifa"}')
    form.get_by_role("button", name="POST").click()
    expect(page.locator(".response-info")).to_contain_text("HTTP 201 Created")
