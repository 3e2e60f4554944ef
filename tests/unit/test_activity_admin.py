"""The activity log in the admin: found by whoever looks for it, changed by nobody."""

import pytest
from django.test import Client

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
        Activity.objects.create(event=Event.TASK_CREATED, task_id=41, title="Non olish", owner="user1", message_id="a"),
        Activity.objects.create(event=Event.TASK_CREATED, task_id=42, title="Kitob <b>", owner="user2", message_id="b"),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("non", {41}), ("user2", {42}), ("42", {42}), ("4", set()), ("", {41, 42}), ("9" * 30, set()), ("'\"%", set())],
)
@pytest.mark.usefixtures("activities")
def test_the_log_is_searched(admin_client: Client, text: str, found: set[int]) -> None:
    response = admin_client.get(LIST, {"q": text})
    assert {one.task_id for one in response.context["cl"].result_list} == found


@pytest.mark.usefixtures("activities")
def test_the_log_is_filtered_by_event(admin_client: Client) -> None:
    for event, count in (("task.created", 2), ("task.other", 0)):
        response = admin_client.get(LIST, {"event__exact": event})
        assert len(response.context["cl"].result_list) == count


def test_an_activity_is_read_and_not_changed(admin_client: Client, activities: tuple[Activity, Activity]) -> None:
    address = f"{LIST}{activities[1].pk}/change/"
    shown = admin_client.get(address).content.decode()
    assert "Kitob &lt;b&gt;" in shown
    assert 'name="_save"' not in shown
    assert admin_client.post(address, {"title": "x"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{activities[1].pk}/delete/", {"post": "yes"}).status_code == 403
    assert Activity.objects.count() == 2
