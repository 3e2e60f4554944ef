"""Exports tasks as a file: a streamed response that needs no more memory for more tasks."""

import csv
import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.utils.encoders import JSONEncoder

from actors.rest.renderers import StreamRenderer

CHUNK = 500
# A spreadsheet runs a cell that begins with one of these as a formula, and titles are untrusted.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class CsvRenderer(StreamRenderer):
    """A line of comma-separated values for each task, after a header line; for spreadsheets."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def lines(self, rows: Iterator[dict[str, Any]], fields: list[str]) -> Iterator[str]:
        writer = csv.writer(_Echo())
        yield writer.writerow(fields)
        for row in rows:
            yield writer.writerow([_cell(row[name]) for name in fields])


class JsonLinesRenderer(StreamRenderer):
    """A JSON object on each line, exactly as the API shows the task."""

    media_type = "application/x-ndjson"
    format = "jsonl"
    charset = "utf-8"

    def lines(self, rows: Iterator[dict[str, Any]], fields: list[str]) -> Iterator[str]:
        for row in rows:
            yield json.dumps(row, cls=JSONEncoder, ensure_ascii=False) + "\n"


def stream(rows: Iterator[dict[str, Any]], renderer: Any, fields: list[str]) -> StreamingHttpResponse:
    """Return a response that streams rows as a file.

    The first row is read before the response begins, so that an unavailable database is still answered with a 503.

    Args:
        rows: tasks as the API shows them.
        renderer: a `CsvRenderer` or a `JsonLinesRenderer`.
        fields: the names of the columns, in order.
    """
    first = list(islice(rows, 1))
    name = f"tasks-{timezone.localdate().isoformat()}.{renderer.format}"
    return StreamingHttpResponse(
        renderer.lines(chain(first, rows), fields),
        content_type=f"{renderer.media_type}; charset={renderer.charset}",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


class _Echo:
    """A file for `csv.writer`, whose `writerow()` then returns the line instead of storing it."""

    def write(self, line: str) -> str:
        return line
