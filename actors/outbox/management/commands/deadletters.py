"""`manage.py deadletters`: an operator lists, shows, replays or discards dead letters.

Guarantee: of a dead letter's contents, which any client of RabbitMQ may have written, only printable characters reach
the terminal.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.template.defaultfilters import truncatechars
from django.utils import timezone

from actors.outbox.dead_letters import decisions, payload
from actors.outbox.dead_letters.payload import UnfitMessage
from actors.outbox.management import arguments
from actors.outbox.models import DeadLetterDecision, Operator, OutboxMessage, State

LISTED = 100
# Options, and the conditions on rows that they set.
FILTERS = {"queue": "queue", "actor": "actor", "reason": "reason", "since": "died_at__gte"}
COLUMNS = ("id", "died at", "queue", "actor", "subject", "reason", "error")
MAX_COLUMN_WIDTH = 60
MAX_NAMED = 20


class Command(BaseCommand):
    help = "Lists and shows dead letters, publishes them again, or discards them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="what", required=True, metavar="list|show|replay|discard")

        listing = actions.add_parser("list", help="dead letters, the latest first")
        _add_filters(listing)
        listing.add_argument(
            "--limit", type=arguments.count, default=LISTED, help=f"at most so many ({LISTED}); 0 for all"
        )
        listing.add_argument("--json", action="store_true", help="as JSON")

        show = actions.add_parser("show", help="one of them: message, error, traceback, earlier decisions")
        show.add_argument("row_id", metavar="ID", type=arguments.row_id)

        replay = actions.add_parser("replay", help="have them published again")
        replay.add_argument(
            "--edit",
            metavar="FILE",
            help="fields of the message to replace, such as args, as a JSON object; - for stdin",
        )
        discard = actions.add_parser("discard", help="delete them; a record with the message is kept")
        for decision in (replay, discard):
            decision.add_argument("ids", metavar="ID", type=arguments.row_id, nargs="*")
            decision.add_argument("--all", action="store_true", help="all that match the filters")
            _add_filters(decision)
            decision.add_argument("--why", required=True, help="kept with the decision")
            decision.add_argument("--by", metavar="NAME", help="who decides (the user of the operating system)")
            decision.add_argument("--yes", action="store_true", help="confirms --all without a filter")

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        {"list": self._list, "show": self._show, "replay": self._decide, "discard": self._decide}[what](options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = _filtered(options).order_by("-died_at", "-pk").defer("body", "traceback")
        shown = list(rows[: options["limit"] or None])
        if options["json"]:
            self.stdout.write(json.dumps([_as_json(row) for row in shown], indent=2))
            return
        if not shown:
            self.stdout.write("No dead letters.")
            return
        self.stdout.write("\n".join(_aligned([COLUMNS, *map(_columns, shown)])))
        if (count := rows.count()) > len(shown):
            self.stdout.write(f"{len(shown)} of {count}.")

    def _show(self, options: dict[str, Any]) -> None:
        row_id = options["row_id"]
        row = OutboxMessage.objects.filter(pk=row_id).first()
        decisions = DeadLetterDecision.objects.filter(row_id=row_id).order_by("pk")
        if row is not None:
            self._show_row(row)
        elif decisions:
            self.stdout.write(f"{row_id} is gone; what was decided on it:")
        else:
            raise CommandError(f"There is no dead letter {row_id}, and there never was a decision on one.")
        for decision in decisions:
            self._show_decision(decision)

    def _show_row(self, row: OutboxMessage) -> None:
        for field in row._meta.fields:
            if field.name not in {"body", "traceback"} and (value := getattr(row, field.attname)) not in {None, ""}:
                self.stdout.write(f"{field.name + ':':<16}{_value(value)}")
        for title, text in (("body", payload.legible(bytes(row.body))), ("traceback", row.traceback)):
            if text:
                self.stdout.write(f"\n{title}:\n{_printable(text, lines=True)}")

    def _show_decision(self, decision: DeadLetterDecision) -> None:
        self.stdout.write(
            f"\n{decision.decision} at {_value(decision.decided_at)} by {_printable(decision.decided_by)}: "
            f"{_printable(decision.why)}\nit had died of {_printable(decision.reason)}: {_printable(decision.error)}"
        )
        for title, body in (("", decision.body), ("sent in its place:\n", decision.edited_body)):
            if body is not None:
                self.stdout.write(title + _printable(payload.legible(bytes(body)), lines=True))

    def _decide(self, options: dict[str, Any]) -> None:
        rows = _chosen(options)
        count, by, why = rows.count(), Operator(name=options["by"] or arguments.os_user()), options["why"]
        if "edit" in options:
            decided = decisions.replay(rows, by=by, why=why, body=_edited(rows, options))
        else:
            decided = decisions.discard(rows, by=by, why=why)
        done = len(decided.decisions)
        self.stdout.write(f"{done} of {count} {'replayed' if 'edit' in options else 'discarded'}.")
        for row_id, problem in list(decided.refused.items())[:MAX_NAMED]:
            self.stderr.write(f"{row_id} stays dead: {_printable(problem)}")
        if decided.refused:
            raise CommandError(f"{len(decided.refused)} would only die again: edit or discard them.")
        if count > done:
            raise CommandError(f"{count - done} had been decided on by another operator meanwhile.")


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--queue", type=arguments.word, help="only of this queue")
    parser.add_argument("--actor", type=arguments.word, help="only of this actor")
    parser.add_argument("--reason", type=arguments.word, help="only of this reason, such as 'retries exhausted'")
    parser.add_argument(
        "--since",
        type=arguments.moment,
        help="only of those that died since: 2026-01-31, 2026-01-31T12:00, or ago: 90m, 12h, 7d",
    )


def _filtered(options: dict[str, Any]) -> QuerySet[OutboxMessage]:
    conditions = {field: options[name] for name, field in FILTERS.items() if options[name] is not None}
    return OutboxMessage.objects.filter(state=State.DEAD, **conditions)


def _chosen(options: dict[str, Any]) -> QuerySet[OutboxMessage]:
    """Return the dead letters chosen by ids or by filters, never by both."""
    if not options["why"].strip():
        raise CommandError("Say why: it is kept with the decision.")
    ids, has_filter = set(options["ids"]), any(options[name] is not None for name in FILTERS)
    if options["all"]:
        if ids:
            raise CommandError("Either ids or --all.")
        rows = _filtered(options)
        if not (has_filter or options["yes"]):
            raise CommandError(f"--all without a filter means every dead letter, {rows.count()} of them: add --yes.")
        return rows
    if not ids or has_filter:
        raise CommandError("Name the ids, or say --all, with or without filters.")
    rows = OutboxMessage.objects.filter(pk__in=ids)
    states = dict(rows.values_list("pk", "state"))
    wrong = [f"{each} ({states.get(each, 'unknown')})" for each in sorted(ids) if states.get(each) != State.DEAD]
    if wrong:
        more = f" and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        raise CommandError(f"{len(wrong)} of {len(ids)} are no dead letters: {', '.join(wrong[:MAX_NAMED])}{more}.")
    return rows.filter(state=State.DEAD)


def _edited(rows: QuerySet[OutboxMessage], options: dict[str, Any]) -> bytes | None:
    source = options["edit"]
    if source is None:
        return None
    if options["all"] or len(options["ids"]) != 1:
        raise CommandError("--edit takes exactly one id: it replaces one message.")
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        return payload.edit(rows.get(), payload.parse(text))
    except (OSError, ValueError, RecursionError, UnfitMessage) as error:
        raise CommandError(f"--edit: {_printable(str(error))}") from error


def _columns(row: OutboxMessage) -> tuple[str, ...]:
    values = (row.pk, row.died_at, row.queue, row.actor, row.subject, row.reason, "".join(row.error.splitlines()[:1]))
    return tuple(truncatechars(_value(value), MAX_COLUMN_WIDTH) for value in values)


def _as_json(row: OutboxMessage) -> dict[str, Any]:
    names = ("message_id", "queue", "actor", "subject", "reason", "error", "attempt")
    return {
        "id": row.pk,
        "died_at": row.died_at and timezone.localtime(row.died_at).isoformat(),
        **{name: getattr(row, name) for name in names},
    }


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}"
    return _printable(str(value))


def _printable(text: str, *, lines: bool = False) -> str:
    """Return text without terminal control characters; `lines` keeps line breaks and tabs."""
    kept = "\n\t" if lines else ""
    return "".join(letter if letter.isprintable() or letter in kept else ascii(letter)[1:-1] for letter in text)
