"""`manage.py deadletters`: an operator sees dead letters and their reasons, and decides."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from actors.outbox.models import DeadLetterDecision, OutboxMessage, State
from tests.unit.outbox.inline_worker import QUEUE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Die = Callable[..., OutboxMessage]


def run(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("deadletters", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


def states() -> list[str]:
    return list(OutboxMessage.objects.order_by("pk").values_list("state", flat=True))


def test_the_list_is_aligned_and_the_latest_is_first(die: Die) -> None:
    die(subject="task:1", died_at=timezone.now() - timedelta(hours=1))
    latest = die(actor="a" * 90)
    header, first, second = run("list").splitlines()
    assert first.startswith(str(latest.pk))
    assert first.split()[3:] == [QUEUE, "a" * 59 + "…", "throws", "ValueError:", "x"]
    assert header.index("reason") == first.index("throws") == second.index("throws")
    assert second[header.index("subject") :].startswith("task:1")


def test_no_dead_letters_are_no_error() -> None:
    assert run("list") == "No dead letters.\n"
    assert json.loads(run("list", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--queue", "other"], 1),
        (["--actor", "known"], 2),
        (["--reason", "throws"], 1),
        (["--since", "90m"], 1),
        (["--since", "3d"], 2),
        (["--since", "2001-01-01"], 2),
        (["--since", "2001-01-01T10:00+05:00"], 2),
        (["--since", "2999-01-01T10:00"], 0),
        (["--limit", "1"], 1),
        (["--limit", "0"], 2),
        (["--queue", "other", "--reason", "throws"], 0),
    ],
)
def test_the_list_is_filtered(die: Die, arguments: list[str], found: int) -> None:
    die(died_at=timezone.now() - timedelta(hours=2))
    die(queue="other", reason="too old")
    assert len(json.loads(run("list", "--json", *arguments))) == found


def test_a_shortened_list_says_so(die: Die) -> None:
    die()
    die()
    assert run("list", "--limit", 1).endswith("1 of 2.\n")


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--since", "2001-13-01"], ["--limit", "-1"]])
def test_a_filter_that_makes_no_sense_is_an_error(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run("list", *arguments)


def test_a_stranger_s_text_does_nothing_to_the_terminal(die: Die) -> None:
    evil = "\x1b[2J\x9b1m\u202eevil\r\n"
    row = die(error=evil, subject=evil, traceback=evil, body=json.dumps(evil, ensure_ascii=False).encode())
    for output in (run("list"), run("show", row.pk)):
        assert "evil" in output
        assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(output)


def test_one_is_shown_whole(die: Die) -> None:
    row = die(subject="task:1")
    shown = run("show", row.pk)
    for expected in (
        row.message_id,
        "task:1",
        "throws",
        "ValueError: x",
        "Traceback …",
        '"é"',
        '"actor_name": "known"',
    ):
        assert expected in shown


def test_what_is_no_json_is_shown_as_bytes(die: Die) -> None:
    assert "00000000  ff 00 61" in run("show", die(body=b"\xff\0a").pk)


def test_what_is_gone_is_shown_by_its_decision(die: Die) -> None:
    row = die()
    run("discard", row.pk, "--why", "a test", "--by", "me")
    shown = run("show", row.pk)
    for expected in (f"{row.pk} is gone", "discarded at", "by me: a test", '"é"'):
        assert expected in shown


def test_a_replay_has_an_operator_and_a_reason(die: Die) -> None:
    row = die()
    assert run("replay", row.pk, "--why", "mended", "--by", "me") == "1 of 1 replayed.\n"
    decision = DeadLetterDecision.objects.get()
    assert (states(), decision.decided_by, decision.why) == ([State.PENDING], "me", "mended")


def test_without_a_name_the_operator_is_the_user_of_the_system(die: Die, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "operator")
    run("discard", die().pk, "--why", "x")
    assert DeadLetterDecision.objects.get().decided_by == "operator"


def test_ids_that_are_not_dead_are_named_and_nothing_is_done(die: Die) -> None:
    dead, alive = die(), die(state=State.PUBLISHED)
    with pytest.raises(CommandError) as error:
        run("replay", dead.pk, alive.pk, 999_999_999, "--why", "x")
    assert str(error.value) == f"2 of 3 are no dead letters: {alive.pk} (published), 999999999 (unknown)."
    assert states() == [State.DEAD, State.PUBLISHED]


def test_many_ids_that_are_not_dead_are_counted() -> None:
    with pytest.raises(CommandError, match=r"50 of 50 are no dead letters: .* and 30 more"):
        run("discard", *range(1, 51), "--why", "x")


def test_all_with_a_filter_are_decided_on(die: Die) -> None:
    die()
    die(queue="other")
    assert run("discard", "--all", "--queue", "other", "--why", "x") == "1 of 1 discarded.\n"
    assert OutboxMessage.objects.get().queue == QUEUE


def test_all_without_a_filter_must_be_meant(die: Die) -> None:
    die()
    die()
    with pytest.raises(CommandError, match="every dead letter, 2 of them: add --yes"):
        run("replay", "--all", "--why", "x")
    assert run("replay", "--all", "--yes", "--why", "x") == "2 of 2 replayed.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "ID"],
        ["replay", "ID", "--why", " "],
        ["replay", "--why", "x"],
        ["discard", "--queue", "q", "--why", "x"],
        ["replay", "ID", "--all", "--why", "x"],
        ["replay", "ID", "--queue", "q", "--why", "x"],
        ["replay", "--all", "--yes", "--edit", "-", "--why", "x"],
        ["discard", "ID", "--edit", "-", "--why", "x"],
        ["show"],
        ["show", "999999999"],
        ["mend"],
        [],
    ],
)
def test_what_is_not_clear_is_not_done(die: Die, arguments: list[str]) -> None:
    row = die()
    with pytest.raises(CommandError):
        run(*(str(row.pk) if argument == "ID" else argument for argument in arguments))
    assert not DeadLetterDecision.objects.exists()


def test_what_would_only_die_again_is_an_error_that_says_why(die: Die) -> None:
    good, bad = die(), die(body=b"{}")
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 would only die again"):
        call_command("deadletters", "replay", str(good.pk), str(bad.pk), "--why", "x", stdout=out, stderr=out)
    assert out.getvalue().startswith(f"1 of 2 replayed.\n{bad.pk} stays dead: it is no message: ")


def test_an_edited_message_comes_from_a_file(die: Die, tmp_path: Path) -> None:
    row = die()
    (tmp_path / "edit.json").write_text('{"args": ["right"]}')
    run("replay", row.pk, "--edit", tmp_path / "edit.json", "--why", "x")
    message = dramatiq.Message.decode(bytes(OutboxMessage.objects.get().body))
    assert (message.args, message.message_id) == (("right",), row.message_id)


def test_an_edited_message_comes_from_stdin(die: Die, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"kwargs": {"a": 1}}'))
    run("replay", die().pk, "--edit", "-", "--why", "x")
    assert dramatiq.Message.decode(bytes(OutboxMessage.objects.get().body)).kwargs == {"a": 1}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"actor_name": "missing"}', '{"x": 1}', "[" * 100_000])
def test_an_edit_that_is_no_message_is_an_error(die: Die, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(CommandError, match="--edit: "):
        run("replay", die().pk, "--edit", "-", "--why", "x")
    assert states() == [State.DEAD]
