"""JSON: orjson writes the bytes that DRF would, and DRF writes what orjson cannot."""

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ErrorDetail
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import Serializer
from rest_framework.utils.serializer_helpers import ReturnDict

from project.api.json import FastJSONRenderer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@given(JSON)
def test_it_writes_what_drf_writes(data: Any) -> None:
    assert FastJSONRenderer().render(data) == JSONRenderer().render(data)


@pytest.mark.parametrize(
    "data",
    [
        ReturnDict({"id": 1}, serializer=Serializer()),
        {"detail": ErrorDetail("Not found.", code="not_found")},
        {"detail": gettext_lazy("Not found.")},
        {1: "a number for a key"},
        {"price": Decimal("1.5"), "id": UUID(int=1)},
        "line\u2028and\u2029paragraph",
        None,
    ],
)
def test_it_takes_what_drf_takes(data: Any) -> None:
    assert FastJSONRenderer().render(data) == JSONRenderer().render(data)


@pytest.mark.parametrize("media_type", ["application/json; indent=4", "application/json;indent=2"])
def test_who_asks_for_an_indent_gets_one(media_type: str) -> None:
    rendered = FastJSONRenderer().render({"id": [1]}, media_type, {})

    assert rendered == JSONRenderer().render({"id": [1]}, media_type, {})
    assert b"\n" in rendered


def test_the_browsable_api_gets_its_indent() -> None:
    assert json.loads(FastJSONRenderer().render({"id": 1}, "application/json", {"indent": 4})) == {"id": 1}
    assert b"\n" in FastJSONRenderer().render({"id": 1}, "application/json", {"indent": 4})


def test_half_of_a_surrogate_pair_is_refused_as_before() -> None:
    with pytest.raises(UnicodeEncodeError):
        FastJSONRenderer().render({"title": "\ud800"})
