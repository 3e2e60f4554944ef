"""The outbox in the admin: users with permissions see messages and decide on them; untrusted contents are text."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from actors.outbox.models import DeadLetterDecision, OutboxMessage, State

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("database"),
    # WhiteNoise has nothing to serve until `collectstatic` has run.
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]

Die = Callable[..., OutboxMessage]

LIST = "/admin/outbox/outboxmessage/"
DECISIONS = "/admin/outbox/deadletterdecision/"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def browser_of(client: Client) -> Callable[..., Client]:
    """Make a browser of a staff member with some permissions."""

    def make(*permissions: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return make


def page(browser: Client, address: str, **parameters: str) -> str:
    response = browser.get(address, parameters)
    assert response.status_code == 200
    return response.content.decode()


def act(browser: Client, action: str, rows: list[OutboxMessage], address: str = LIST, **more: Any) -> str:
    """Choose an action for rows of the list, and return the page that comes."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return browser.post(address, chosen, follow=True).content.decode()


def address(row: OutboxMessage, view: str) -> str:
    return reverse(f"admin:outbox_outboxmessage_{view}", args=[row.pk])


def shown(browser: Client, **parameters: str) -> set[int]:
    response = browser.get(LIST, parameters)
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


def test_the_list_is_filtered_and_searched(admin_client: Client, die: Die) -> None:
    dead, alive = die(subject="task:1"), die(state=State.PUBLISHED, queue="other")
    assert shown(admin_client) == {dead.pk, alive.pk}
    assert shown(admin_client, state__exact="dead") == {dead.pk}
    assert shown(admin_client, reason="throws", queue="other") == {alive.pk}
    assert shown(admin_client, actor="known") == {dead.pk, alive.pk}
    assert shown(admin_client, q="task:1") == {dead.pk}
    assert shown(admin_client, q=alive.message_id) == {alive.pk}
    assert shown(admin_client, q="x" * 5_000) == set()


def test_the_filter_of_actors_stays_short(admin_client: Client, die: Die) -> None:
    for number in range(60):
        OutboxMessage.objects.create(actor=f"made-up-{number:02}", body=b"")
    assert page(admin_client, LIST).count("?actor=made-up") == 50


def test_the_list_reads_no_bodies(admin_client: Client, die: Die, django_assert_max_num_queries: Any) -> None:
    for _ in range(20):
        die()
    with django_assert_max_num_queries(14) as queries:
        page(admin_client, LIST)
    assert not any('"body"' in query["sql"] for query in queries.captured_queries)


def test_a_message_is_shown_whole_and_cannot_be_changed(admin_client: Client, die: Die) -> None:
    row = die(subject="task:1")
    shown = page(admin_client, address(row, "change"))
    for expected in (row.message_id, "task:1", "ValueError: x", "Traceback …", "é", "Edit and replay"):
        assert expected in shown
    assert 'name="_save"' not in shown
    assert admin_client.post(address(row, "change"), {"state": "pending"}).status_code == 403
    assert admin_client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403


def test_what_a_stranger_wrote_is_text(admin_client: Client, die: Die) -> None:
    body = json.dumps({"args": [EVIL]}).encode()
    row = die(actor=EVIL, queue=EVIL, subject=EVIL, message_id=EVIL, error=EVIL, traceback=EVIL, body=body)
    pages = [page(admin_client, address(row, view)) for view in ("change", "replay", "edit", "discard")]
    pages += [page(admin_client, LIST), act(admin_client, "replay_dead_letters", [row])]
    pages += [act(admin_client, "replay_dead_letters", [row], why=EVIL)]
    pages += [act(admin_client, "discard_dead_letters", [row], why=EVIL)]
    pages += [page(admin_client, DECISIONS)]
    pages += [page(admin_client, f"{DECISIONS}{DeadLetterDecision.objects.get().pk}/change/")]
    for one in pages:
        assert "<script>alert" not in one
    assert sum("&lt;script&gt;alert" in one for one in pages) >= 8


@pytest.mark.parametrize("body", [b"", b"\xff\0", b"\0" * 300_000, b'["\\ud800"]', b"[" * 100_000])
def test_a_body_that_is_no_message_is_shown(admin_client: Client, die: Die, body: bytes) -> None:
    row = die(body=body)
    for view in ("change", "replay", "edit", "discard"):
        assert len(page(admin_client, address(row, view))) < 200_000


def test_an_action_asks_why_and_then_decides(admin_client: Client, die: Die) -> None:
    rows = [die(), die(), die(state=State.PUBLISHED)]
    asked = act(admin_client, "replay_dead_letters", rows)
    assert "2 dead letters will be published again" in asked
    assert {row.state for row in OutboxMessage.objects.all()} == {State.DEAD, State.PUBLISHED}
    assert "This field is required" in act(admin_client, "replay_dead_letters", rows, why=" ")
    assert "2 dead letters were replayed." in act(admin_client, "replay_dead_letters", rows, why="mended")
    assert sorted(row.state for row in OutboxMessage.objects.all()) == [State.PENDING, State.PENDING, State.PUBLISHED]
    decisions = DeadLetterDecision.objects.all()
    assert {(one.decided_by, one.why, one.decision) for one in decisions} == {("admin", "mended", "replayed")}


def test_an_action_on_nothing_dead_says_so(admin_client: Client, die: Die) -> None:
    shown = act(admin_client, "discard_dead_letters", [die(state=State.PUBLISHED)])
    assert "None of these is a dead letter." in shown


def test_what_is_not_published_yet_is_cancelled(admin_client: Client, die: Die) -> None:
    published, dead = die(state=State.PUBLISHED), die()
    rows = [die(state=State.PENDING), die(state=State.SCHEDULED), published, dead]
    asked = act(admin_client, "cancel_messages", rows)
    assert "2 messages will be deleted before they are published" in asked
    assert "This field is required" in act(admin_client, "cancel_messages", rows, why=" ")
    assert OutboxMessage.objects.count() == 4
    assert "2 messages were cancelled." in act(admin_client, "cancel_messages", rows, why="not wanted")
    assert set(OutboxMessage.objects.all()) == {published, dead}
    decisions = DeadLetterDecision.objects.order_by("row_id")
    assert [(one.row_id, one.decision, one.decided_by, one.why, bytes(one.body)) for one in decisions] == [
        (row.pk, "cancelled", "admin", "not wanted", bytes(row.body)) for row in rows[:2]
    ]
    assert "None of these can be cancelled" in act(admin_client, "cancel_messages", [published, dead])
    shown = page(admin_client, DECISIONS, decision__exact="cancelled")
    assert "not wanted" in shown


def test_what_was_sent_after_the_question_is_not_cancelled(admin_client: Client, die: Die) -> None:
    seen = die(state=State.PENDING)
    every = {"action": "cancel_messages", "select_across": "1", "_selected_action": [seen.pk]}
    until = admin_client.post(LIST, every).context["form"]["seen_until"].value()
    later = die(state=State.PENDING, created_at=timezone.now() + timedelta(seconds=1))
    act(admin_client, "cancel_messages", [seen], select_across="1", why="x", seen_until=until)
    assert OutboxMessage.objects.get().pk == later.pk


def test_what_died_after_the_question_is_not_decided_on(admin_client: Client, die: Die) -> None:
    seen, filtered = die(), f"{LIST}?state__exact=dead"
    asked = admin_client.post(
        filtered, {"action": "discard_dead_letters", "select_across": "1", "_selected_action": [seen.pk]}
    )
    until = asked.context["form"]["seen_until"].value()
    assert f'value="{until}"' in asked.content.decode().replace("&#x2B;", "+")
    later = die(died_at=timezone.now() + timedelta(seconds=1))
    act(admin_client, "discard_dead_letters", [seen], filtered, select_across="1", why="x", seen_until=until)
    assert OutboxMessage.objects.get().pk == later.pk


def test_what_would_only_die_again_is_said_and_stays(admin_client: Client, die: Die) -> None:
    row = die(body=b"{}")
    shown = act(admin_client, "replay_dead_letters", [row], why="x")
    assert f"{row.pk} stays dead, because it would only die again: it is no message" in shown
    assert OutboxMessage.objects.get().state == State.DEAD


@pytest.mark.parametrize(("view", "left"), [("replay", [State.PENDING]), ("discard", [])])
def test_one_is_decided_on_from_its_own_page(admin_client: Client, die: Die, view: str, left: list[str]) -> None:
    row = die()
    assert admin_client.post(address(row, view), {"why": "x"}).status_code == 302
    assert [row.state for row in OutboxMessage.objects.all()] == left
    again = admin_client.post(address(row, view), {"why": "x"}, follow=True).content.decode()
    assert "This is no dead letter, or is none any more." in again
    assert DeadLetterDecision.objects.count() == 1


def test_a_message_is_edited_and_replayed(admin_client: Client, die: Die) -> None:
    row = die()
    proposed = json.loads(admin_client.get(address(row, "edit")).context["form"]["message"].value())
    assert (proposed["actor_name"], proposed["args"]) == ("known", ["é"])
    proposed["args"] = ["right"]
    admin_client.post(address(row, "edit"), {"why": "x", "message": json.dumps(proposed)})
    replayed = OutboxMessage.objects.get()
    assert (replayed.state, dramatiq.Message.decode(bytes(replayed.body)).args) == (State.PENDING, ("right",))
    shown = page(admin_client, address(row, "change"))
    assert "edited and replayed" in shown
    assert "Discard" not in shown


@pytest.mark.parametrize("text", ["", "{", "[]", '{"actor_name": "missing"}', "[" * 100_000, '{"args": "x"}'])
def test_an_edit_that_is_no_message_says_why(admin_client: Client, die: Die, text: str) -> None:
    response = admin_client.post(address(die(), "edit"), {"why": "x", "message": text})
    assert response.status_code == 200
    assert response.context["form"].errors["message"]
    assert OutboxMessage.objects.get().state == State.DEAD


def test_a_user_who_may_only_view_decides_on_nothing(browser_of: Callable[..., Client], die: Die) -> None:
    row, browser = die(), browser_of("view_outboxmessage")
    assert "Replay" not in page(browser, LIST)
    assert "Discard" not in page(browser, address(row, "change"))
    for view in ("replay", "edit", "discard"):
        assert browser.get(address(row, view)).status_code == 403
        assert browser.post(address(row, view), {"why": "x", "message": "{}"}).status_code == 403
    act(browser, "discard_dead_letters", [row], why="x")
    assert OutboxMessage.objects.get().state == State.DEAD


def test_a_user_who_may_decide_does(browser_of: Callable[..., Client], die: Die) -> None:
    row, browser = die(), browser_of("change_outboxmessage")
    assert "Discard" in page(browser, address(row, "change"))
    act(browser, "discard_dead_letters", [row], why="x")
    assert not OutboxMessage.objects.exists()
    assert DeadLetterDecision.objects.get().decided_by == "staff"


@pytest.mark.parametrize("kind", ["replay", "discard", "cancel"])
def test_each_kind_of_decision_has_a_permission_of_its_own(
    browser_of: Callable[..., Client], die: Die, kind: str
) -> None:
    browser = browser_of("view_outboxmessage", f"{kind}_outboxmessage")
    dead, pending = die(), die(state=State.PENDING)
    own = page(browser, address(dead, "change"))
    assert (">Replay<" in own, ">Edit and replay<" in own, ">Discard<" in own) == (
        (kind == "replay", kind == "replay", kind == "discard")
    )
    for view, needed in (("replay", "replay"), ("edit", "replay"), ("discard", "discard")):
        assert browser.get(address(dead, view)).status_code == (200 if needed == kind else 403)
    actions = {"replay": "replay_dead_letters", "discard": "discard_dead_letters", "cancel": "cancel_messages"}
    for action in actions.values():
        act(browser, action, [dead, pending], why="x")
    [decision] = DeadLetterDecision.objects.all()
    assert decision.decision == {"replay": "replayed", "discard": "discarded", "cancel": "cancelled"}[kind]


def test_a_user_without_permission_sees_nothing(browser_of: Callable[..., Client], die: Die) -> None:
    row, browser = die(), browser_of()
    for one in (LIST, DECISIONS, address(row, "change"), address(row, "replay")):
        assert browser.get(one).status_code == 403


def test_decisions_are_read_and_not_changed(admin_client: Client, die: Die) -> None:
    act(admin_client, "discard_dead_letters", [die(), die()], why="not wanted")
    one = DeadLetterDecision.objects.earliest("pk")
    response = admin_client.get(DECISIONS, {"q": str(one.row_id)})
    assert [found.pk for found in response.context["cl"].result_list] == [one.pk]
    assert page(admin_client, DECISIONS, q="nothing", decision__exact="discarded")
    shown = page(admin_client, f"{DECISIONS}{one.pk}/change/")
    for expected in ("discarded", "not wanted", "é", "ValueError: x"):
        assert expected in shown
    assert admin_client.post(f"{DECISIONS}{one.pk}/change/", {}).status_code == 403
    assert admin_client.get(f"{DECISIONS}add/").status_code == 403


@pytest.mark.parametrize("parameters", [{"q": "a\0b"}, {"actor": "\0"}, {"p": "9" * 30}, {"died_at__gte": "x\0"}])
def test_garbage_in_the_address_breaks_nothing(admin_client: Client, die: Die, parameters: dict[str, str]) -> None:
    die()
    admin_client.raise_request_exception = False
    assert admin_client.get(LIST, parameters).status_code in {200, 302, 400}


@pytest.mark.parametrize("row_id", ["0", "999999", "9" * 30])
def test_a_dead_letter_that_is_not_there_leads_back(admin_client: Client, row_id: str) -> None:
    for view in ("change", "replay", "edit", "discard"):
        assert admin_client.get(f"{LIST}{row_id}/{view}/").status_code == 302
