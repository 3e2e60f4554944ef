"""Which representation a client gets: the same as by DRF's own negotiation."""

from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from actors.api.views import EventStreamRenderer
from project.api.negotiation import Negotiation
from tasks.export import CsvRenderer, JsonLinesRenderer

JSON_OR_PAGE = (JSONRenderer, BrowsableAPIRenderer)


def chosen(by: BaseContentNegotiation, renderers: Any, query: str, headers: dict[str, str]) -> Any:
    request = Request(RequestFactory().get(f"/tasks/{query}", **headers))  # type: ignore[arg-type]
    try:
        renderer, media_type = by.select_renderer(request, [each() for each in renderers])
    except Exception as error:  # noqa: BLE001 – of any kind: it has to be the same
        return type(error), str(error)
    return type(renderer), media_type


@pytest.mark.parametrize("renderers", [JSON_OR_PAGE, (JsonLinesRenderer, CsvRenderer), (EventStreamRenderer,)])
@pytest.mark.parametrize("query", ["", "?format=json", "?format=csv", "?format=", "?page=2", "?page=2&format=api"])
@pytest.mark.parametrize(
    "accept",
    [
        *(None, "*/*", "", "application/json", "text/html", "text/csv", "image/png", "application/json; indent=4"),
        *("text/html,*/*;q=0.8", "application/*", "text/event-stream", "application/x-ndjson", "*/*; indent=2"),
    ],
)
def test_the_choice_is_that_of_drf(renderers: Any, query: str, accept: str | None) -> None:
    headers = {} if accept is None else {"HTTP_ACCEPT": accept}

    ours = chosen(Negotiation(), renderers, query, headers)

    assert ours == chosen(DefaultContentNegotiation(), renderers, query, headers)


def test_an_unavailable_type_is_refused() -> None:
    assert chosen(Negotiation(), JSON_OR_PAGE, "", {"HTTP_ACCEPT": "image/png"})[0] is NotAcceptable
