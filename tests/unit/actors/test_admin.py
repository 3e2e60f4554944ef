"""The activity log in the admin: it can be searched and read, and not be changed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from actors.models import Activity, Event

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("database"),
    # WhiteNoise has nothing to serve until `collectstatic` has run.
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]

LIST = "/admin/actors/activity/"


@pytest.fixture
def activities() -> tuple[Activity, Activity]:
    return (
        Activity.objects.create(
            event=Event.TASK_CREATED,
            task_id=41,
            title="Non olish",
            owner="user1",
            message_id="a",
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        Activity.objects.create(
            event=Event.TASK_UPDATED,
            task_id=42,
            version=17,
            title="Kitob <b>",
            owner="user2",
            changed_by="manager",
            changes={"title": ["Kitob", "Kitob <b>"], "description": ["bir\nikki", "</pre><script>ў"]},
            request_id="request-1",
            message_id="b",
        ),
    )


def listed(response: Any) -> list[int]:
    assert response.status_code == 200
    return [one.task_id for one in response.context["cl"].result_list]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(("non", {41}), ("user2", {42}), ("manager", {42}), ("42", {42}), ("request-1", {42}), ("request", set())),
        *(("4", set()), ("", {41, 42}), ("9" * 30, set()), ("'\"%", set())),
    ],
)
@pytest.mark.usefixtures("activities")
def test_the_log_is_searched(admin_client: Client, text: str, found: set[int]) -> None:
    assert set(listed(admin_client.get(LIST, {"q": text}))) == found


@pytest.mark.usefixtures("activities")
def test_the_log_is_filtered_by_event(admin_client: Client) -> None:
    for event, found in (("task.created", [41]), ("task.updated", [42]), ("task.deleted", []), ("task.other", [])):
        assert listed(admin_client.get(LIST, {"event__exact": event})) == found


@pytest.mark.usefixtures("activities")
def test_the_log_is_filtered_by_when_it_happened(admin_client: Client) -> None:
    then = "2026-06-01 00:00:00+00:00"
    assert listed(admin_client.get(LIST, {"occurred_at__gte": then})) == [42]
    assert listed(admin_client.get(LIST, {"occurred_at__lt": then})) == [41]


@pytest.mark.usefixtures("activities")
@pytest.mark.parametrize(
    "parameters",
    [
        {"occurred_at__gte": "x"},
        {"occurred_at__gte": "x\0"},
        {"event__exact": "\0"},
        {"o": "99.-99.x"},
        {"p": "9" * 30},
    ],
)
def test_garbage_in_the_address_of_the_list_breaks_nothing(admin_client: Client, parameters: dict[str, str]) -> None:
    assert admin_client.get(LIST, parameters).status_code in {200, 302}


@pytest.mark.usefixtures("activities")
def test_the_log_is_listed_newest_first_with_who_did_what(admin_client: Client) -> None:
    response = admin_client.get(LIST)
    assert listed(response) == [42, 41]
    page = response.content.decode()
    for column in ("occurred_at", "event", "task_id", "version", "short_title", "owner", "changed_by"):
        assert f'class="field-{column}' in page
    for text in (">17<", ">manager<", ">system<", ">user2<", "Kitob &lt;b&gt;"):
        assert text in page


@pytest.mark.usefixtures("activities")
def test_the_list_reads_no_texts_that_it_does_not_show(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(10) as queries:
        admin_client.get(LIST)
    assert not any('"changes"' in query["sql"] for query in queries.captured_queries)


def test_changes_are_shown_as_text(admin_client: Client, activities: tuple[Activity, Activity]) -> None:
    page = admin_client.get(f"{LIST}{activities[1].pk}/change/").content.decode()
    assert "&quot;Kitob &lt;b&gt;&quot;" in page
    assert "&lt;/pre&gt;&lt;script&gt;ў" in page
    assert "</pre><script>" not in page


def test_everything_about_an_event_is_shown(admin_client: Client, activities: tuple[Activity, Activity]) -> None:
    page = admin_client.get(f"{LIST}{activities[1].pk}/change/").content.decode()
    for name in ("version", "owner_id", "changed_by", "changed_by_id", "what_changed", "request_id", "message_id"):
        assert f"field-{name}" in page
    for name in ("occurred_at", "published_at", "logged_at", "attempts"):
        assert f"field-{name}" in page


def test_an_activity_is_read_and_not_changed(admin_client: Client, activities: tuple[Activity, Activity]) -> None:
    address = f"{LIST}{activities[1].pk}/change/"
    shown = admin_client.get(address).content.decode()
    assert "Kitob &lt;b&gt;" in shown
    assert 'name="_save"' not in shown
    assert admin_client.post(address, {"title": "x"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{activities[1].pk}/delete/", {"post": "yes"}).status_code == 403
    assert Activity.objects.count() == 2
