"""Which addresses the settings refuse, in words that show no password."""

from collections.abc import Callable

import pytest
from environs import ValidationError

from settings.addresses import are_amqp_urls, are_cache_urls, are_origins, is_database_url, is_page


@pytest.mark.parametrize(
    "urls",
    [
        "",
        "amqp://",
        "amqp://localhost",
        "amqp://user:pa%40ss@host:5672/",
        "amqp://user:p@ss@host/tasks",
        "amqp://a:b@one/;amqp://a:b@two/;amqps://a:b@[::1]:5671/%2Ftasks?heartbeat=30",
    ],
)
def test_addresses_of_rabbitmq_are_accepted(urls: str) -> None:
    are_amqp_urls(urls)


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ("localhost:5672", "amqp://user:password@host:5672/"),
        ("http://a:b@host/", "amqp://user:password@host:5672/"),
        ("amqp://a:hunter22@host/;http://a:b@host/", "amqp://user:password@host:5672/"),
        ("amqp://a:hunter22@host/; amqp://a:b@host/", "amqp://user:password@host:5672/"),
        ("amqp://a:hunter22@host:five/", "a port is a number"),
        ("amqp://a:hunter22@host:65536/", "a port is a number"),
        ("amqp://a:hunter22@host:0/", "cannot be told apart"),
        ("amqp://a:hunter22@[::1/", "host or port cannot be read"),
        ("amqp://a:hunter22%4@host/", "%40 for @"),
        ("amqp://a:hunter22%zz@host/", "%40 for @"),
        ("amqp://a:hunter22#x@host/", "%23 for #"),
        ("amqp://a:22/hunter22@host/", "%2F for /"),
        ("amqp://a@host/", "a user without a password"),
        ("amqp://a:hunter22@host//", "a / is %2F"),
        ("amqp://a:hunter22@host/?heartbaet=3", "Unknown URL parameter: 'heartbaet'"),
        ("amqp://a:hunter22@host/?heartbeat=soon", "Invalid heartbeat value"),
        ("amqp://a:hunter22@host/?heartbeat=1&heartbeat=2", "exactly one value"),
        ("amqps://a:hunter22@host/?ssl_options={", "what stands after the ? cannot be used"),
        ("amqps://a:hunter22@host/?ssl_options={'cafile':'/no/such/file'}", "No such file"),
    ],
)
def test_what_is_no_address_of_rabbitmq_is_refused(urls: str, reason: str) -> None:
    assert_refused(are_amqp_urls, urls, reason)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://:memory:",
        "sqlite:///var/db.sqlite3",
        "sqlite:////var/lib/100 %25/db@home.sqlite3?timeout=9&init_command=PRAGMA synchronous=2; PRAGMA cache_size=9",
        "postgres://user:pa%2Fss@host:5432/name?sslmode=require&connect_timeout=9&prepare_threshold=3",
        "postgresql://user:password@/name?host=one,two&port=5432,5433&options=-c search_path=tasks",
        "postgresql:///name?currentSchema=tasks",
    ],
)
def test_addresses_of_databases_are_accepted(url: str) -> None:
    is_database_url(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "postgres://user:password@host:5432/name or sqlite:///file"),
        ("var/db.sqlite3", "postgres://user:password@host:5432/name or sqlite:///file"),
        ("mysql://a:hunter22@host/name", "postgres://user:password@host:5432/name or sqlite:///file"),
        ("postgres://a:hunter22@host:five/name", "a port is a number"),
        ("postgres://a:hunter22?@host/name", "a port is a number"),
        ("postgres://a:hunter22%@host/name", "%25 for %"),
        ("postgres://a:hunter22@host/name?ssl=on", 'invalid connection option "ssl"'),
        ("sqlite://db.sqlite3", "three slashes"),
        ("sqlite:///db#1.sqlite3", "%23 for #"),
        ("sqlite:///db.sqlite3?time_out=3", "SQLite has no option 'time_out'"),
    ],
)
def test_what_is_no_address_of_a_database_is_refused(url: str, reason: str) -> None:
    assert_refused(is_database_url, url, reason)


@pytest.mark.parametrize(
    "urls", ["", "redis://host", "rediss://user:pa%40ss@host:6379/0?socket_timeout=2", "redis://a/1,unix:///run/redis"]
)
def test_addresses_of_caches_are_accepted(urls: str) -> None:
    are_cache_urls(urls)


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ("host:6379", "redis://user:password@host:6379/0"),
        ("http://host:6379", "redis://user:password@host:6379/0"),
        ("redis://host:six/0", "a port is a number"),
        ("redis://:hunter22@host/zero", "the database's number"),
        ("redis://:hunter22@host/0?socket_timeout=soon", "Invalid value for 'socket_timeout'"),
        ("redis://:hunter22@host/0?socket_timeuot=2", "socket_timeuot"),
    ],
)
def test_what_is_no_address_of_a_cache_is_refused(urls: str, reason: str) -> None:
    assert_refused(are_cache_urls, urls, reason)


@pytest.mark.parametrize("origins", [["tasks.example.com"], ["https://a.example", ""], ["https://a.example/path"]])
def test_what_is_no_origin_is_refused(origins: list[str]) -> None:
    are_origins(["https://a.example:8443", "http://*.b.example"])
    with pytest.raises(ValidationError, match=r"https://tasks\.example\.com"):
        are_origins(origins)


@pytest.mark.parametrize("url", ["127.0.0.1:15672", "amqp://host/", "https://", "javascript:void(0)", "http://a b/"])
def test_what_is_no_page_is_refused(url: str) -> None:
    is_page("")
    is_page("http://[::1]:15672/")
    assert_refused(is_page, url, "http://127.0.0.1:15672/")


def assert_refused(check: Callable[[str], None], address: str, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        check(address)
    [text] = refused.value.messages
    assert reason in text
    assert "hunter22" not in text
    assert "\n" not in text
