"""Bodies that are no task: refused with a 4xx that says what is wrong, and nothing is stored."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

BLANK = "This field may not be blank."
NO_DICTIONARY = "Expected a dictionary"
NO_JSON = "JSON parse error"
NO_STRING = "Not a valid string."
NULL = "This field may not be null."
REQUIRED = "This field is required."
UNKNOWN = "There is no such field."
SEND_JSON = "Send JSON, with the header Content-Type: application/json."
TOO_LONG = "Ensure this field has no more than 200 characters."
WRONG_BOOLEAN = "Must be a valid boolean."

BAD_FIELDS = [
    pytest.param({}, "title", REQUIRED, id="no title"),
    pytest.param({"description": "Test"}, "title", REQUIRED, id="only a description"),
    pytest.param({"Title": "Test"}, "Title", UNKNOWN, id="a title with a capital"),
    pytest.param({"title": "a", "completedd": True}, "completedd", UNKNOWN, id="a field misspelt"),
    pytest.param({"title": "a", "": 1}, "", UNKNOWN, id="a field without a name"),
    pytest.param({"title": "a", "a\0": {"b": [1]}}, "a\0", UNKNOWN, id="NUL in a name"),
    pytest.param({"title": "a", "a\ud800": 1}, "a\\ud800", UNKNOWN, id="lone surrogate in a name"),
    pytest.param({"title": "a", "detail": "a"}, "detail", UNKNOWN, id="a field named as errors are"),
    pytest.param({"title": "a", "owner_username": "a"}, "owner_username", UNKNOWN, id="a parameter for a field"),
    pytest.param({"title": ""}, "title", BLANK, id="blank title"),
    pytest.param({"title": " \t\r\n\u00a0\u2003"}, "title", BLANK, id="title of spaces"),
    pytest.param({"title": "a" * 201}, "title", TOO_LONG, id="201 letters"),
    pytest.param({"title": "😀" * 201}, "title", TOO_LONG, id="201 emojis"),
    pytest.param({"title": "a" * 100_000}, "title", TOO_LONG, id="100000 letters"),
    pytest.param({"title": None}, "title", NULL, id="title null"),
    pytest.param({"title": "a\0b"}, "title", "Null characters", id="NUL in a title"),
    pytest.param({"title": "\ud800"}, "title", "Surrogate characters", id="lone surrogate in a title"),
    pytest.param({"title": "a", "description": "\0"}, "description", "Null characters", id="NUL in a description"),
    pytest.param({"title": "a", "description": "x\udfff"}, "description", "Surrogate", id="surrogate in a description"),
    pytest.param({"title": "a", "description": None}, "description", NULL, id="description null"),
    pytest.param({"title": "a", "completed": None}, "completed", NULL, id="completed null"),
    *(
        pytest.param({"title": value}, "title", NO_STRING, id=f"title {json.dumps(value)[:20]}")
        for value in (5, 1.5, True, [], ["a"], {}, {"a": "b"}, 10**300)
    ),
    *(
        pytest.param({"title": "a", "description": value}, "description", NO_STRING, id=f"description {value!r}")
        for value in (5, False, ["a"], {"a": 1})
    ),
    *(
        pytest.param({"title": "a", "completed": value}, "completed", WRONG_BOOLEAN, id=f"completed {value!r}")
        for value in (0, 1, "true", "off", "yes", "perhaps", "", "\0", 2, -1, 0.5, [], [True], {}, {"a": 1}, 10**300)
    ),
]

BAD_TEXTS = [
    pytest.param(b"[]", "non_field_errors", NO_DICTIONARY, id="list"),
    pytest.param(b'[{"title": "a"}]', "non_field_errors", NO_DICTIONARY, id="list of tasks"),
    pytest.param(b'"title"', "non_field_errors", NO_DICTIONARY, id="string"),
    pytest.param(b"5", "non_field_errors", NO_DICTIONARY, id="number"),
    pytest.param(b"true", "non_field_errors", NO_DICTIONARY, id="boolean"),
    pytest.param(b"null", "non_field_errors", "No data provided", id="null"),
    pytest.param(b"{", "detail", NO_JSON, id="not closed"),
    pytest.param(b"title=a", "detail", NO_JSON, id="a form"),
    pytest.param(b"{'title': 'a'}", "detail", NO_JSON, id="single quotes"),
    pytest.param(b'{"title": "a",}', "detail", NO_JSON, id="trailing comma"),
    pytest.param(b'{"title": "a"} {}', "detail", NO_JSON, id="two values"),
    pytest.param(b'{"title": "b", "title": "a"}', "detail", "field title twice", id="a field twice"),
    pytest.param(b'{"title": {"\\ud800": 1, "\\ud800": 2}}', "detail", "\\ud800 twice", id="a surrogate twice"),
    pytest.param(b'{"title": "a\nb"}', "detail", NO_JSON, id="raw line break in a string"),
    pytest.param(b'{"title": "a\0b"}', "detail", NO_JSON, id="raw NUL in a string"),
    pytest.param(b"\0", "detail", NO_JSON, id="raw NUL"),
    pytest.param(b'{"title": NaN}', "detail", NO_JSON, id="NaN"),
    pytest.param(b'{"title": -Infinity}', "detail", NO_JSON, id="Infinity"),
    pytest.param(b'{"completed": ' + b"9" * 5000 + b"}", "detail", NO_JSON, id="number of 5000 digits"),
    pytest.param(b'{"title": "\xff"}', "detail", "utf-8", id="invalid UTF-8"),
    pytest.param(b'{"title": "\xed\xa0\x80"}', "detail", "utf-8", id="surrogate in UTF-8"),
    pytest.param('{"title": "ў"}'.encode("cp1251"), "detail", "utf-8", id="another encoding"),
    pytest.param('{"title": "a"}'.encode("utf-16"), "detail", "utf-8", id="UTF-16"),
    pytest.param(b'\xef\xbb\xbf{"title": "a"}', "detail", "BOM", id="byte order mark"),
    pytest.param(b"[" * 100_000, "detail", "nested too deeply", id="100000 lists"),
    pytest.param(b'{"title":' * 100_000, "detail", "nested too deeply", id="100000 objects"),
    pytest.param(b'{"title":' + b"[" * 500 + b"]" * 500 + b"}", "title", NO_STRING, id="500 lists in a title"),
]

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
PART = '--x\r\nContent-Disposition: form-data; name="title"\r\n\r\na\r\n--x--\r\n'
FORMS = [
    pytest.param(FORM, b"title=a", id="form"),
    pytest.param(f"{FORM}; charset=utf-8", b"title=a", id="form in UTF-8"),
    pytest.param(FORM, b"%&", id="garbage for a form"),
    pytest.param(FORM, b"&".join(b"f%d=1" % n for n in range(1001)), id="1001 fields"),
    pytest.param(FORM, b'{"title": "a"}', id="JSON that curl takes for a form"),
    pytest.param(MULTIPART, PART.encode(), id="multipart"),
    pytest.param(MULTIPART, b"garbage", id="garbage for parts"),
    pytest.param("multipart/form-data", PART.encode(), id="no boundary"),
    pytest.param("multipart/form-data; boundary=\xff", PART.encode(), id="boundary not ASCII"),
]

BAD_CONTENT_TYPES = [
    *(
        pytest.param(kind, SEND_JSON, id=kind[:30])
        for kind in ("text/plain", "application/xml", "application/vnd.api+json", "json", "/", ";", "a" * 300)
    ),
    *(
        pytest.param(f"application/json; charset={charset}", "Send text as UTF-8.", id=f"charset {charset}")
        for charset in ("latin-1", "utf-16", "utf-7", "cp1251", "hex", "zlib", "bz2", "rot13", "idna", "nonsense", "")
    ),
    pytest.param(f"{FORM}; charset=hex", "Send text as UTF-8.", id="form in hex"),
    pytest.param(f"{MULTIPART}; charset=hex", "Send text as UTF-8.", id="multipart in hex"),
]


def assert_refused(response: Any, status: int, field: str, gist: str) -> None:
    """Assert that the response is JSON, with this status and with this text about this field."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    said = response.json()[field]
    assert gist in (said if isinstance(said, str) else said[0])
    assert not Task.objects.filter(title__in=("a", "")).exists()


@pytest.mark.parametrize(("body", "field", "gist"), BAD_FIELDS)
def test_a_field_that_is_wrong_is_named(owner: APIClient, body: dict[str, Any], field: str, gist: str) -> None:
    assert_refused(owner.post("/tasks/", json.dumps(body), content_type="application/json"), 400, field, gist)


@pytest.mark.parametrize(("body", "field", "gist"), [case for case in BAD_FIELDS if case.values[0] != {}])
def test_a_change_to_something_wrong_is_refused_as_well(
    owner: APIClient, task: Task, body: dict[str, Any], field: str, gist: str
) -> None:
    response = owner.put(f"/tasks/{task.pk}/", json.dumps(body), content_type="application/json")

    assert_refused(response, 400, field, gist)
    assert Task.objects.get().title == "Yangi vazifa"


@pytest.mark.parametrize(("body", "field", "gist"), BAD_TEXTS)
def test_what_is_no_json_object_is_refused(owner: APIClient, task: Task, body: bytes, field: str, gist: str) -> None:
    for ask, address in (
        (owner.post, "/tasks/"),
        (owner.put, f"/tasks/{task.pk}/"),
        (owner.patch, f"/tasks/{task.pk}/"),
    ):
        assert_refused(ask(address, body, content_type="application/json"), 400, field, gist)


@pytest.mark.parametrize(("method", "status"), [("post", 400), ("put", 400), ("patch", 200)])
def test_only_a_patch_may_say_nothing(owner: APIClient, task: Task, method: str, status: int) -> None:
    address = "/tasks/" if method == "post" else f"/tasks/{task.pk}/"

    assert getattr(owner, method)(address, b"", content_type="application/json").status_code == status


@pytest.mark.parametrize(("content_type", "body"), FORMS)
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_a_form_is_refused(owner: APIClient, task: Task, method: str, content_type: str, body: bytes) -> None:
    address = "/tasks/" if method == "post" else f"/tasks/{task.pk}/"

    assert_refused(getattr(owner, method)(address, body, content_type=content_type), 415, "detail", SEND_JSON)


@pytest.mark.parametrize(("content_type", "body"), FORMS)
def test_a_form_of_a_browsers_session_is_refused(user1: User, task: Task, content_type: str, body: bytes) -> None:
    browser = SchemaCheckingClient(enforce_csrf_checks=True)
    browser.force_login(user1)
    browser.get("/api-auth/login/")
    headers = {"X-CSRFToken": browser.cookies["csrftoken"].value}

    assert_refused(browser.post("/tasks/", body, content_type=content_type, headers=headers), 415, "detail", SEND_JSON)


@pytest.mark.parametrize(("content_type", "gist"), BAD_CONTENT_TYPES)
@pytest.mark.parametrize("path", ["/tasks/", "/tasks/bulk/", "/api/token/", "/api/token/refresh/"])
def test_a_content_type_that_cannot_be_read_is_refused(
    owner: APIClient, path: str, content_type: str, gist: str
) -> None:
    assert_refused(owner.post(path, b'{"title": "a"}', content_type=content_type), 415, "detail", gist)


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", '"utf-8"'])
def test_utf8_may_be_said_in_every_way(owner: APIClient, charset: str) -> None:
    body = '{"title": "Ўзбекча"}'.encode()

    response = owner.post("/tasks/", body, content_type=f"application/json; charset={charset}")

    assert (response.status_code, response.json()["title"]) == (201, "Ўзбекча")


@pytest.mark.parametrize("coding", ["gzip", "br", "GZip", "identity, gzip", "gzip, br", "nonsense"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_body_that_is_or_claims_to_be_compressed_is_refused(
    owner: APIClient, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = pack(b'{"title": "a"}')
    response = owner.post("/tasks/", body, content_type="application/json", HTTP_CONTENT_ENCODING=coding)

    assert_refused(response, 415, "detail", "Send the body uncompressed")
    assert response["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_a_body_may_be_said_to_be_uncompressed(owner: APIClient, coding: str) -> None:
    response = owner.post("/tasks/", b'{"title": "a"}', content_type="application/json", HTTP_CONTENT_ENCODING=coding)

    assert response.status_code == 201


@pytest.mark.parametrize("content_type", ["application/json", FORM, MULTIPART])
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_a_body_too_large_is_refused_unread(
    owner: APIClient, task: Task, settings: Any, method: str, content_type: str
) -> None:
    address = "/tasks/" if method == "post" else f"/tasks/{task.pk}/"

    response = getattr(owner, method)(address, b"x" * (settings.MAX_BODY_BYTES + 1), content_type=content_type)

    assert_refused(response, 413, "detail", f"larger than {settings.MAX_BODY_BYTES} bytes")


def test_a_body_of_the_largest_size_is_read(owner: APIClient, settings: Any) -> None:
    frame = b'{"title": "Uzun", "description": "%s"}'
    body = frame % (b"a" * (settings.MAX_BODY_BYTES - len(frame) + len(b"%s")))
    assert len(body) == settings.MAX_BODY_BYTES

    assert owner.post("/tasks/", body, content_type="application/json").status_code == 201


def test_a_size_beyond_all_memory_is_refused(visitor: APIClient) -> None:
    response = visitor.post("/tasks/", b"{}", content_type="application/json", CONTENT_LENGTH="9" * 30)

    assert_refused(response, 413, "detail", "larger than")


def test_a_body_in_chunks_is_not_taken_for_an_empty_one(owner: APIClient) -> None:
    request = owner.generic("POST", "/tasks/", "", HTTP_TRANSFER_ENCODING="chunked")

    assert_refused(request, 411, "detail", "Send the length of the body")


def test_all_that_is_wrong_is_said_at_once(owner: APIClient) -> None:
    body = {"title": "", "description": 5, "completed": "perhaps", "color": "red", "due": None}

    assert owner.post("/tasks/", body, format="json").json() == {
        "title": [BLANK],
        "description": [NO_STRING],
        "completed": [WRONG_BOOLEAN],
        "color": [UNKNOWN],
        "due": [UNKNOWN],
    }


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_of_endless_unknown_fields_the_first_are_named(owner: APIClient, task: Task, method: str) -> None:
    address = "/tasks/" if method == "post" else f"/tasks/{task.pk}/"
    body = {"title": "a"} | {f"f{number}": number for number in range(50_000)}

    response = getattr(owner, method)(address, body, format="json")

    assert (response.status_code, response.json()) == (400, {f"f{number}": [UNKNOWN] for number in range(20)})


@pytest.mark.parametrize("length", ["abc", "5, 5", "-1", "\u0663"])
def test_a_length_that_is_none_is_refused(owner: APIClient, length: str) -> None:
    response = owner.post("/tasks/", b"{}", content_type="application/json", CONTENT_LENGTH=length)

    assert_refused(response, 400, "detail", "Malformed request.")
