"""Clients are answered in their language, the log is written in its own, and the catalogues are complete."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import django_filters.fields
import polib
import pytest
import rest_framework_simplejwt.authentication
import rest_framework_simplejwt.exceptions
import rest_framework_simplejwt.serializers
import rest_framework_simplejwt.tokens
from django.contrib.auth.models import User
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation.template import templatize
from pytest_django.fixtures import Settings
from rest_framework import authentication, exceptions, fields, filters, pagination, serializers, validators
from rest_framework.exceptions import Throttled
from rest_framework.response import Response
from rest_framework.test import APIClient

from actors.activity import task_line
from settings.environment import ROOT

# WhiteNoise has nothing to serve until `collectstatic` has run.
pytestmark = pytest.mark.filterwarnings("ignore:No directory at:UserWarning")

LANGUAGES = ("uz", "ru", "en")
OURS = [ROOT / "locale" / language / "LC_MESSAGES" / "django.po" for language in LANGUAGES]
LIBRARIES = [ROOT / "locale" / "libraries" / language / "LC_MESSAGES" / "django.po" for language in ("uz", "ru")]
CATALOGUES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in (*OURS, *LIBRARIES)]

# The modules of libraries whose messages can reach a client of the API.
SPEAKING_MODULES: tuple[ModuleType, ...] = (
    authentication,
    exceptions,
    fields,
    filters,
    pagination,
    serializers,
    validators,
    rest_framework_simplejwt.authentication,
    rest_framework_simplejwt.exceptions,
    rest_framework_simplejwt.serializers,
    rest_framework_simplejwt.tokens,
    django_filters.fields,
)
MARKERS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext"}
MARKED_IN_TEMPLATE = re.compile(r"""gettext\((u'(?:[^'\\]|\\.)*'|u"(?:[^"\\]|\\.)*")""")
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|\{[^{}]*\}")


def marked_messages(source: str) -> Iterator[str]:
    """Yield every constant text that `source` marks for translation."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(text)), *_]
            ) if name in MARKERS:
                yield text


def messages_of_ours() -> set[str]:
    folders = [ROOT / name for name in ("tasks", "actors", "project")]
    sources = [path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")]
    templates = [path.read_text("utf-8") for folder in folders for path in folder.rglob("*.html")]
    in_templates = {text for template in templates for text in marked_in_template(template)}
    return in_templates | {text for source in sources for text in marked_messages(source)}


def marked_in_template(template: str) -> Iterator[str]:
    for text in MARKED_IN_TEMPLATE.findall(templatize(template)):
        yield ast.literal_eval(text)


def messages_of_libraries() -> set[str]:
    return {text for module in SPEAKING_MODULES for text in marked_messages(inspect.getsource(module))}


def contents(catalogue: Any) -> dict[tuple[str | None, str], tuple[str, dict[int, str]]]:
    return {(entry.msgctxt, entry.msgid): (entry.msgstr, entry.msgstr_plural) for entry in catalogue}


@pytest.mark.parametrize("path", CATALOGUES)
def test_a_compiled_catalogue_says_what_its_source_says(path: Path) -> None:
    source, compiled = polib.pofile(path), polib.mofile(path.with_suffix(".mo"))

    assert contents(compiled) == contents(source)
    assert compiled.metadata["Plural-Forms"] == source.metadata["Plural-Forms"]


@pytest.mark.parametrize("path", CATALOGUES)
def test_every_entry_is_translated_and_none_is_a_guess(path: Path) -> None:
    unfinished = [entry.msgid for entry in polib.pofile(path) if entry.obsolete or not entry.translated()]

    assert unfinished == []


@pytest.mark.parametrize("path", CATALOGUES)
def test_a_translation_has_the_placeholders_of_its_original(path: Path) -> None:
    for entry in polib.pofile(path):
        for text in (entry.msgstr, *entry.msgstr_plural.values()):
            if text:
                assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(entry.msgid)), entry.msgid


@pytest.mark.parametrize("path", CATALOGUES)
def test_a_catalogue_names_its_language(path: Path) -> None:
    assert polib.pofile(path).metadata["Language"] == path.parent.parent.name


@pytest.mark.parametrize("path", OURS, ids=LANGUAGES)
def test_a_catalogue_of_ours_has_exactly_what_our_code_says(path: Path) -> None:
    assert {entry.msgid for entry in polib.pofile(path)} == messages_of_ours()


@pytest.mark.parametrize("path", LIBRARIES, ids=("uz", "ru"))
def test_what_is_translated_for_a_library_is_still_what_it_says(path: Path) -> None:
    assert {entry.msgid for entry in polib.pofile(path)} - messages_of_libraries() == set()


@pytest.mark.parametrize("language", ["uz", "ru"])
def test_every_message_of_a_library_that_can_reach_a_client_is_translated(language: str) -> None:
    with translation.override(language):
        untranslated = {text for text in messages_of_libraries() if gettext(text) == text}

    assert untranslated == set()


LINES = {
    "uz": {
        "created": "Yangi vazifa yaratildi: Non olish (ID: 7, Owner: aziz)",
        "updated": "Vazifa yangilandi: Non olish (ID: 7, Owner: aziz)",
        "deleted": "Vazifa o'chirildi: Non olish (ID: 7, Owner: aziz)",
    },
    "en": {
        "created": "New task created: Non olish (ID: 7, Owner: aziz)",
        "updated": "Task updated: Non olish (ID: 7, Owner: aziz)",
        "deleted": "Task deleted: Non olish (ID: 7, Owner: aziz)",
    },
    "ru": {
        "created": "Создана новая задача: Non olish (ID: 7, Владелец: aziz)",
        "updated": "Задача обновлена: Non olish (ID: 7, Владелец: aziz)",
        "deleted": "Задача удалена: Non olish (ID: 7, Владелец: aziz)",
    },
}


@pytest.mark.parametrize("clients_language", LANGUAGES)
@pytest.mark.parametrize("event", ["created", "updated", "deleted"])
@pytest.mark.parametrize("log_language", LANGUAGES)
def test_a_line_is_in_the_language_of_the_log_whatever_the_client_speaks(
    log_language: str, event: Literal["created", "updated", "deleted"], clients_language: str, settings: Settings
) -> None:
    settings.LOG_LANGUAGE = log_language

    with translation.override(clients_language):
        line = task_line(event, task_id=7, title="Non olish", owner="aziz")

    assert line == LINES[log_language][event]


def in_each_language(**messages: str) -> pytest.MarkDecorator:
    cases = [pytest.param(language, message, id=language) for language, message in messages.items()]
    return pytest.mark.parametrize(("language", "message"), cases)


def client_speaking(language: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_ACCEPT_LANGUAGE=language)
    return client


def signed_in_client_speaking(language: str) -> APIClient:
    client = client_speaking(language)
    client.force_authenticate(User.objects.create_user("aziz"))
    return client


def assert_says(response: Response, status: int, language: str, body: dict[str, Any]) -> None:
    assert (response.status_code, json.loads(response.content)) == (status, body)
    assert response["Content-Language"] == language


@in_each_language(
    uz="Kirish ma'lumotlari berilmagan.",
    ru="Учетные данные не были предоставлены.",
    en="Authentication credentials were not provided.",
)
def test_a_request_without_a_token_is_refused_in_the_clients_language(language: str, message: str) -> None:
    assert_says(client_speaking(language).get("/tasks/"), 401, language, {"detail": message})


@in_each_language(uz="Token yaroqsiz", ru="Токен недействителен", en="Token is invalid")
def test_a_forged_token_is_refused_in_the_clients_language(language: str, message: str) -> None:
    response = client_speaking(language).post("/api/token/verify/", {"token": "forged"}, format="json")

    assert_says(response, 401, language, {"detail": message, "code": "token_not_valid"})


@pytest.mark.django_db
@in_each_language(
    uz="Berilgan ma'lumotlarga mos faol hisob topilmadi",
    ru="Не найдено активной учётной записи с указанными данными",
    en="No active account found with the given credentials",
)
def test_a_wrong_password_is_refused_in_the_clients_language(language: str, message: str) -> None:
    User.objects.create_user("aziz", password="right")

    response = client_speaking(language).post("/api/token/", {"username": "aziz", "password": "wrong"}, format="json")

    assert_says(response, 401, language, {"detail": message})


@pytest.mark.django_db
@in_each_language(
    uz="Bu maydon bo'sh bo'lishi mumkin emas.", ru="Это поле не может быть пустым.", en="This field may not be blank."
)
def test_a_blank_title_is_refused_in_the_clients_language(language: str, message: str) -> None:
    response = signed_in_client_speaking(language).post("/tasks/", {"title": " "}, format="json")

    assert_says(response, 400, language, {"title": [message]})


@pytest.mark.django_db
@in_each_language(uz="true yoki false kiriting.", ru="Введите true или false.", en="Enter true or false.")
def test_a_filter_that_means_nothing_is_refused_in_the_clients_language(language: str, message: str) -> None:
    response = signed_in_client_speaking(language).get("/tasks/", {"completed": "perhaps"})

    assert_says(response, 400, language, {"completed": [message]})


@pytest.mark.django_db
@in_each_language(uz="Bunday sahifa yo'q.", ru="Неправильная страница", en="Invalid page.")
def test_a_page_that_is_not_there_is_refused_in_the_clients_language(language: str, message: str) -> None:
    response = signed_in_client_speaking(language).get("/tasks/", {"page": "99"})

    assert_says(response, 404, language, {"detail": message})


@in_each_language(uz="Topilmadi.", ru="Не найдено.", en="Not found.")
def test_an_address_that_leads_nowhere_is_not_found_in_the_clients_language(language: str, message: str) -> None:
    assert_says(client_speaking(language).get("/nowhere/"), 404, language, {"detail": message})


@in_each_language(
    uz="Topilmadi. Manzil qiya chiziq bilan tugaydi: /tasks/.",
    ru="Не найдено. Адрес заканчивается косой чертой: /tasks/.",
    en="Not found. The address ends with a slash: /tasks/.",
)
def test_a_write_without_the_last_slash_is_refused_in_the_clients_language(language: str, message: str) -> None:
    assert_says(client_speaking(language).post("/tasks"), 404, language, {"detail": message})


@in_each_language(
    uz="So'rovlar soni cheklovdan oshdi. {wait} soniyadan keyin qayta urinib ko'ring.",
    ru="Запрос был проигнорирован. Повторите через {wait} сек.",
)
@pytest.mark.parametrize("wait", [1, 2, 5, 21])
def test_a_throttled_client_reads_how_long_to_wait_in_its_language(language: str, wait: int, message: str) -> None:
    with translation.override(language):
        assert str(Throttled(wait=wait)) == message.format(wait=wait)


def test_a_client_of_another_language_is_answered_in_english() -> None:
    response = client_speaking("ja").get("/tasks/")

    assert_says(response, 401, "en", {"detail": "Authentication credentials were not provided."})
