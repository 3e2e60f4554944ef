"""Lists of the admin cost what they show: no pattern in an address, few words in a search, no count of everything."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from actors.outbox.admin import bounded
from actors.outbox.admin.bounded import BoundedAdmin
from actors.outbox.models import OutboxMessage
from tasks.models import Task

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:No directory at:UserWarning")]

ADMINS = list(admin.site._registry.items())
IDS = [model._meta.label for model, _admin in ADMINS]
EVIL = "(a|a|aa)+$"


def list_of(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def texts_of(model: type[models.Model]) -> Iterator[str]:
    for field in model._meta.fields:
        if isinstance(field, models.CharField | models.TextField | models.JSONField):
            yield field.name


@pytest.mark.parametrize(("model", "page"), ADMINS, ids=IDS)
def test_every_page_is_bounded(model: type[models.Model], page: Any) -> None:
    assert isinstance(page, BoundedAdmin)


@pytest.mark.parametrize("kind", ["regex", "iregex", "icontains", "finds", "startswith", "length__gt", "year"])
@pytest.mark.parametrize("model", [model for model, _page in ADMINS], ids=IDS)
def test_no_address_looks_for_a_pattern(admin_client: Client, model: type[models.Model], kind: str) -> None:
    for name in texts_of(model):
        with CaptureQueriesContext(connection) as queries:
            response = admin_client.get(list_of(model), {f"{name}__{kind}": EVIL})

        assert response.status_code == 400
        assert not any(EVIL in query["sql"] for query in queries)


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        *((User, lookup) for lookup in ("password", "password__startswith", "password__exact", "password__gte")),
        *((Task, f"owner__password{kind}") for kind in ("", "__startswith", "__regex", "__lt")),
        *((User, f"groups__user__password{kind}") for kind in ("", "__startswith", "__lt")),
        *((Task, f"owner__{name}__regex") for name in ("username", "email")),
    ],
)
def test_no_address_compares_a_password(admin_client: Client, model: type[models.Model], lookup: str) -> None:
    assert admin_client.get(list_of(model), {lookup: "pbkdf2_sha256$"}).status_code == 400


@pytest.mark.parametrize(("model", "page"), ADMINS, ids=IDS)
def test_the_filters_of_a_page_work(admin_client: Client, model: type[models.Model], page: Any) -> None:
    OutboxMessage.objects.create(actor="one", queue="two", reason="three", body=b"")
    address = list_of(model)
    changes = admin_client.get(address).context["cl"]
    links = {choice["query_string"] for spec in changes.filter_specs for choice in spec.choices(changes)}

    assert len(links) >= len(changes.filter_specs)
    for link in links:
        assert admin_client.get(address + link).status_code == 200, link


@pytest.mark.parametrize("model", [model for model, page in ADMINS if page.search_fields])
def test_a_search_has_five_words_at_most_and_says_so(admin_client: Client, model: type[models.Model]) -> None:
    words = [str(number) for number in range(7000, 7200)]
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(list_of(model), {"q": " ".join(words)})

    assert "Only the first 5 words are searched for." in page.content.decode()
    searches = [query["sql"] for query in queries if "7000" in query["sql"]]
    assert searches
    assert not any("7005" in search for search in searches)


def test_a_search_of_few_words_says_nothing(admin_client: Client) -> None:
    page = admin_client.get(list_of(Task), {"q": "one two three four five"})

    assert "searched for" not in page.content.decode()


def test_no_more_messages_are_counted_than_pages_can_show(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    OutboxMessage.objects.bulk_create(OutboxMessage(actor=f"a{n}", body=b"") for n in range(5))
    monkeypatch.setattr(bounded, "MAX_COUNTED", 3)
    monkeypatch.setattr("actors.outbox.admin.OutboxMessageAdmin.list_per_page", 2)
    with CaptureQueriesContext(connection) as queries:
        changes = admin_client.get(list_of(OutboxMessage)).context["cl"]

    assert changes.result_count == 3
    reads = [query["sql"] for query in queries if 'FROM "outbox_outboxmessage"' in query["sql"]]
    assert [sql for sql in reads if "LIMIT" not in sql] == []
    [actors] = [spec for spec in changes.filter_specs if spec.field_path == "actor"]
    assert list(actors.lookup_choices) == ["a2", "a3", "a4"], "of the latest messages"


def test_an_address_cannot_have_every_choice_counted(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as plain:
        admin_client.get(list_of(OutboxMessage))
    with CaptureQueriesContext(connection) as asked:
        admin_client.get(list_of(OutboxMessage), {"_facets": "True"})

    assert len(asked) <= len(plain)
