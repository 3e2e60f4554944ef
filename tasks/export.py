"""Tasks as a file: a stream, however many there are, in memory that does not grow with them."""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.renderers import BaseRenderer
from rest_framework.utils.encoders import JSONEncoder

CHUNK = 500
# A spreadsheet takes a cell that begins so for a formula, and a title may be a stranger's.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class CsvRenderer(BaseRenderer):
    """One line of comma-separated values a task, after a line of names; for spreadsheets."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def lines(self, rows: Iterator[dict[str, Any]], fields: list[str]) -> Iterator[str]:
        writer = csv.writer(_Echo())
        yield writer.writerow(fields)
        for row in rows:
            yield writer.writerow([_cell(row[name]) for name in fields])


class JsonLinesRenderer(BaseRenderer):
    """One JSON object a line; exactly what the API shows."""

    media_type = "application/x-ndjson"
    format = "jsonl"
    charset = "utf-8"

    def lines(self, rows: Iterator[dict[str, Any]], fields: list[str]) -> Iterator[str]:
        for row in rows:
            yield json.dumps(row, cls=JSONEncoder, ensure_ascii=False) + "\n"


def stream(rows: Iterator[dict[str, Any]], renderer: Any, fields: list[str]) -> StreamingHttpResponse:
    """Answer with a file of rows. The first is read before anything is answered: a database away is a 503 then.

    Args:
        rows: tasks as the API shows them.
        renderer: a `CsvRenderer` or a `JsonLinesRenderer`.
        fields: the names of what is shown, in order.
    """
    first = list(_first(rows))
    name = f"tasks-{timezone.localdate().isoformat()}.{renderer.format}"
    return StreamingHttpResponse(
        renderer.lines(chain(first, rows), fields),
        content_type=f"{renderer.media_type}; charset={renderer.charset}",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _first(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row
        return


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


class _Echo:
    """Where `csv` writes: it hands back what it is given."""

    def write(self, line: str) -> str:
        return line
