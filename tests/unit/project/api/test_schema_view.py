"""The schema is made once for each format, however often and with whatever parameters it is asked for."""

from collections.abc import Iterator

import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from project.api import schema_view


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """How often a schema was made."""
    make, found = SchemaGenerator.get_schema, list[object]()

    def note(self: SchemaGenerator, *arguments: object, **options: object) -> object:
        found.append(self)
        return make(self, *arguments, **options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(SchemaGenerator, "get_schema", note)
    schema_view._made.cache_clear()
    yield found
    schema_view._made.cache_clear()


def test_it_is_made_once_for_each_format(made: list[object]) -> None:
    for round_number in range(3):
        for language in ("uz", "en", "ru", "de"):
            for form in ("yaml", "json"):
                address = f"/api/schema/?format={form}&version={round_number}{language}"
                assert APIClient().get(address, HTTP_ACCEPT_LANGUAGE=language).status_code == 200
        for lang in ("uz", "ru", "xx", "x" * 400, "\0", "../en"):
            assert APIClient().get("/api/schema/", {"lang": lang}).status_code == 200

    assert len(made) == 2


def test_it_is_in_english_whoever_asks(made: list[object]) -> None:
    client = APIClient()
    russian, english = client.get("/api/schema/", HTTP_ACCEPT_LANGUAGE="ru"), client.get("/api/schema/")

    assert russian.content == english.content
    assert [each["Content-Language"] for each in (russian, english)] == ["en", "en"]


def test_a_client_that_has_it_gets_no_body(made: list[object]) -> None:
    client = APIClient()
    first = client.get("/api/schema/")
    again = client.get("/api/schema/", HTTP_IF_NONE_MATCH=first["ETag"])
    other = client.get("/api/schema/?format=json", HTTP_IF_NONE_MATCH=first["ETag"])

    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
    assert "Accept" in again["Vary"].split(", ")
