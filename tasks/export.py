"""Exports tasks as a file: a streamed response that needs no more memory for more tasks.

Guarantee: a file has the tasks as they were when it began. PostgreSQL keeps the result of the one query for its cursor
(`WITH HOLD`): no transaction stays open, and a slow client holds back no vacuum. Clients that read slowly occupy the
threads of no other requests: an export has a place among `EXPORT_CLIENTS`, of which a user may have
`EXPORT_CLIENTS_PER_USER`.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import orjson
from django.conf import settings
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from actors.rest import time_limit
from actors.rest.places import Placed, Places
from actors.rest.renderers import StreamRenderer
from tasks.listing.compiled import NAMES, read_in_pieces
from tasks.models import Task

PIECE = 200
"""Tasks: how many are in memory, and are sent, at a time."""
TIMES_LONGER = 6
"""Than another request: an export is meant to be of all tasks."""
BOM = "\ufeff"

# A spreadsheet runs a cell that begins with a sign of FORMULA, and texts are untrusted. It may pass over what does not
# show; here that is all but letters, digits and ASCII's other signs. Quotation marks may be its own: where semicolons
# or the like separate, and commas do not, each of them, and each line, begins a cell in the midst of a text.
BREAKS = r"|;\t\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
FORMULA = "-=+@＝＋－＠﹦﹢﹣﹫⁼⁺⁻₌₊₋−﬩"
BLANK_LETTERS = "\u115f\u1160\u3164\uffa0"
BLANKS = rf"(?:[^{FORMULA}{BREAKS}\w!#-&(-~]++|[{BLANK_LETTERS}]++)*+"
FORMULAS = re.compile(rf"(?:^|(?<=[{BREAKS}]))(?={BLANKS}[{FORMULA}])")

places = Places(
    total=lambda: settings.EXPORT_CLIENTS,
    each=lambda: settings.EXPORT_CLIENTS_PER_USER,
    full=gettext_lazy("Too many files are being exported. Try again in a few seconds."),
    own=gettext_lazy("You export as many files as one user may at a time. Wait until one of them is complete."),
)


class CsvRenderer(StreamRenderer):
    """A line of comma-separated values for each task, after a header line; for spreadsheets."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def parts(self, pieces: Iterable[list[dict[str, Any]]], *, bom: bool) -> Iterator[str]:
        write = csv.writer(_Echo()).writerow
        yield (BOM if bom else "") + write(NAMES)
        for tasks in pieces:
            yield "".join([write(map(_cell, task.values())) for task in tasks])


class JsonLinesRenderer(StreamRenderer):
    """A JSON object on each line, exactly as the API shows the task."""

    media_type = "application/x-ndjson"
    format = "jsonl"
    charset = "utf-8"

    def parts(self, pieces: Iterable[list[dict[str, Any]]], *, bom: bool) -> Iterator[bytes]:
        for tasks in pieces:
            yield b"".join([orjson.dumps(task, option=orjson.OPT_APPEND_NEWLINE) for task in tasks])


def stream(tasks: QuerySet[Task], renderer: Any, *, bom: bool, user_id: int | None) -> StreamingHttpResponse:
    """Return a response that streams tasks as a file.

    The first piece is read before the response begins, so that an unavailable database is still answered with a 503.

    Args:
        tasks: an ordered queryset.
        renderer: a `CsvRenderer` or a `JsonLinesRenderer`.
        bom: whether csv begins with a byte order mark, by which Excel recognizes UTF-8.
        user_id: the user whose place it takes.

    Raises:
        NoPlace: this process has no place for another export.
        TooManyOfUser: the user has as many exports as one may.
    """
    with places.take(user_id) as place:
        # PostgreSQL reads all tasks before it gives the first; SQLite, and this process, work on each piece.
        time_limit.begin(time_limit.current() * TIMES_LONGER)
        pieces = _each_in_time(read_in_pieces(tasks, PIECE))
        first = list(islice(pieces, 1))
        parts = Placed(place, renderer.parts(chain(first, pieces), bom=bom))
    name = f"tasks-{timezone.localdate().isoformat()}.{renderer.format}"
    return StreamingHttpResponse(
        parts,
        content_type=f"{renderer.media_type}; charset={renderer.charset}",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _each_in_time(pieces: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    for piece in pieces:
        yield piece
        time_limit.renew()


def _cell(value: Any) -> Any:
    return FORMULAS.sub("'", value) if isinstance(value, str) else value


class _Echo:
    """A file for `csv.writer`, whose `writerow()` then returns the line instead of storing it."""

    def write(self, line: str) -> str:
        return line
