"""No address of the service has a method that it answers with an error of its own."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern
from django.utils.regex_helper import normalize

from tasks.models import Task

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")
ANYTHING, HTML = "*/*", "text/html,application/xhtml+xml,*/*;q=0.8"
# In place of each parameter; the first user and the first task have it.
ARGUMENT = "1"


def addresses(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    """Yield every address of the URL configuration."""
    for each in patterns:
        address = before + _address(each.pattern)
        if isinstance(each, URLResolver):
            yield from addresses(each.url_patterns, address)
        else:
            yield address


def _address(pattern: Any) -> str:
    if isinstance(pattern, RoutePattern):
        return re.sub("<[^>]+>", ARGUMENT, str(pattern))
    form, names = normalize(pattern.regex.pattern)[0]
    return str(form % dict.fromkeys(names, ARGUMENT))


ADDRESSES = sorted({*addresses(get_resolver().url_patterns), "/static/", "/no/such/address/"})
CASES = [(address, HTML) for address in ADDRESSES]
CASES += [(address, ANYTHING) for address in ADDRESSES if not address.startswith("/admin/")]  # which has pages alone


def test_the_addresses_are_those_of_the_service() -> None:
    assert {"/", "/tasks/", "/tasks/1/", "/tasks/1/activity/", "/admin/tasks/task/1/change/"} <= {*ADDRESSES}


@pytest.mark.django_db
@pytest.mark.parametrize(("address", "accept"), CASES)
def test_no_method_is_an_error_of_the_service(
    address: str, accept: str, admin_user: User, caplog: pytest.LogCaptureFixture
) -> None:
    Task.objects.create(pk=ARGUMENT, title="Bir", owner=admin_user)
    for user in (None, admin_user):
        for method in METHODS:
            client = Client(raise_request_exception=False, headers={"accept": accept})
            if user:
                client.force_login(user)
            answer = client.generic(method, address)
            answer.close()
            assert answer.status_code < 500, (method, user)
            assert not any(record.exc_info for record in caplog.records), (method, user)
