"""The API as pages: under the service's own name, with ways from one to another, and forms only where they help."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.throttling import SimpleRateThrottle

from tasks.models import Task

pytestmark = pytest.mark.django_db

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORMS = re.compile(r"<form[^>]*(?:method=\"POST\"|data-method)|<button[^>]*data-target|id=\"extra-actions-menu\"")


@pytest.fixture
def task(user1: User) -> Task:
    return Task.objects.create(title="Bir", owner=user1)


def browser(user: User | None = None) -> Client:
    browser = Client(headers=HTML)
    if user:
        browser.force_login(user)
    return browser


@pytest.mark.parametrize(
    "path", ["/", "/tasks/", "/tasks/1/", "/activity/", "/api/token/", "/api/docs/", "/api-auth/login/", "/admin/"]
)
def test_no_page_bears_the_name_of_what_it_is_made_with(path: str, admin_user: User) -> None:
    for page in (browser(), browser(admin_user)):
        text = page.get(path, follow=True).content.decode()
        assert re.search("<title>[^<]*Vazifa\\s*</title>", text)
        assert "Django" not in text
        assert "icon.svg" in text


def test_the_pages_lead_from_one_to_another(task: Task, user1: User) -> None:
    page, address = browser(user1), f"/tasks/{task.pk}/"

    listed, shown, history = (page.get(each).content.decode() for each in ("/tasks/", address, f"{address}activity/"))

    assert 'href="/tasks/export/?format=csv"' in listed
    assert 'href="/tasks/export/?format=jsonl"' in listed
    assert f'<a href="{address}activity/">Activity of this task</a>' in shown
    assert f'<a href="{address}">The task as it is now</a>' in history
    assert page.get("/tasks/export/?format=csv").status_code == 200


def test_the_history_of_a_deleted_task_is_there_and_its_page_is_not(task: Task, user1: User) -> None:
    address = f"/tasks/{task.pk}/"
    gone = browser(user1).delete(address)
    shown = browser(user1).get(address)

    assert (gone.status_code, shown.status_code) == (200, 404)
    assert browser(user1).get(f"{address}activity/").status_code == 200
    for page in (gone, shown):
        assert not FORMS.search(page.content.decode())


def test_what_may_be_done_has_a_form(task: Task, user1: User, user2: User) -> None:
    own, foreign = (browser(user).get(f"/tasks/{task.pk}/").content.decode() for user in (user1, user2))

    assert 'data-method="PUT"' in own
    assert 'data-method="DELETE"' in own
    assert 'data-method="PUT"' not in foreign
    assert 'data-method="DELETE"' not in foreign


def test_what_the_form_has_wrong_can_be_mended_in_it(user1: User) -> None:
    refused = browser(user1).post("/tasks/", {"title": " "}, content_type="application/json")

    assert refused.status_code == 400
    assert FORMS.search(refused.content.decode())


def test_a_page_of_an_error_that_no_form_mends_has_none(task: Task, user1: User, user2: User) -> None:
    address = f"/tasks/{task.pk}/"
    refused = browser(user2).put(address, {"title": "Ikki"}, content_type="application/json")
    pages = {
        401: browser().get("/tasks/"),
        403: refused,
        404: browser(user1).get("/tasks/999999/"),
    }

    for status, page in pages.items():
        assert page.status_code == status
        assert not FORMS.search(page.content.decode()), status


def test_nor_has_one_that_came_too_often(user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"anon": "1/day", "user": "1/day"})
    page = browser(user1)

    answers = [page.get("/tasks/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert not FORMS.search(answers[1].content.decode())


def test_a_stranger_logs_in_in_their_language() -> None:
    page = Client().get("/api-auth/login/?next=/tasks/", headers={**HTML, "accept-language": "uz"}).content.decode()

    assert "Kirish" in page
    assert 'name="next" value="/tasks/"' in page
