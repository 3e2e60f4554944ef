"""What the addresses of RabbitMQ, of the database and of the cache, and origins, must look like.

Guarantee: an address that a library would refuse at its first use, or read otherwise than it was meant, is refused, in
words that do not show it, because it can have a password.
"""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, parse_qsl, urlsplit

from environs import ValidationError
from pika import URLParameters

BAD_CODE = re.compile("%(?![0-9A-Fa-f]{2})")
CODES = "write special characters of names and passwords by their codes: %40 for @, %2F for /, %23 for #, %25 for %"

IN_MEMORY = "sqlite://:memory:"
POSTGRESQL_SCHEMES = ("postgres", "postgresql", "pgsql")
# What Django, psycopg and dj-database-url take beside the driver's own parameters.
POSTGRESQL_OPTIONS = {
    "assume_role",
    "currentSchema",
    "isolation_level",
    "pool",
    "prepare_threshold",
    "server_side_binding",
}
SQLITE_OPTIONS = {
    "cached_statements",
    "check_same_thread",
    "detect_types",
    "init_command",
    "isolation_level",
    "timeout",
    "transaction_mode",
    "uri",
}


def are_amqp_urls(urls: str) -> None:
    """Refuse what is neither RabbitMQ's address nor several with `;` between them; an empty text is none.

    Raises:
        ValidationError: saying what is wrong.
    """
    for url in urls.split(";") if urls else ():
        parts = _split(url, ("amqp", "amqps"), "amqp://user:password@host:5672/, or several with ; between them")
        if parts.username is not None and parts.password is None:
            raise ValidationError("it has a user without a password: amqp://user:password@host:5672/")
        if parts.path.count("/") > 1:
            raise ValidationError("one / and the vhost stand after the host; in the vhost's name a / is %2F")
        try:
            URLParameters(url)
        except (ValueError, SyntaxError, TypeError, AttributeError, OSError) as error:
            raise ValidationError(f"what stands after the ? cannot be used: {_line(error)}") from error


def is_database_url(url: str) -> None:
    """Refuse what is neither PostgreSQL's address nor an SQLite file, and options that its driver does not have.

    Raises:
        ValidationError: saying what is wrong.
    """
    if url == IN_MEMORY:
        return
    parts = _split(url, (*POSTGRESQL_SCHEMES, "sqlite"), "postgres://user:password@host:5432/name or sqlite:///file")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme in POSTGRESQL_SCHEMES:
        from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 – not loaded where SQLite is used

        try:
            conninfo.make_conninfo(**{name: options[name] for name in options.keys() - POSTGRESQL_OPTIONS})
        except ProgrammingError as error:
            raise ValidationError(f"what stands after the ? cannot be used: {_line(error)}") from error
        return
    if parts.netloc:
        raise ValidationError("three slashes stand before a file's name, four before an absolute path: sqlite:///file")
    if unknown := options.keys() - SQLITE_OPTIONS:
        raise ValidationError(f"what stands after the ? cannot be used: SQLite has no option {min(unknown)!r}")


def are_cache_urls(urls: str) -> None:
    """Refuse what is neither Redis's address nor several with `,` or `;` between them; an empty text is none.

    Raises:
        ValidationError: saying what is wrong.
    """
    for url in re.split("[,;]", urls) if urls else ():
        parts = _split(url, ("redis", "rediss", "unix"), "redis://user:password@host:6379/0")
        if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
            raise ValidationError("after the host stands the database's number: redis://host:6379/0")
        from redis import ConnectionPool  # noqa: PLC0415 – not loaded where no cache is set

        try:
            ConnectionPool.from_url(url).make_connection()
        except (ValueError, TypeError) as error:
            raise ValidationError(f"what stands after the ? cannot be used: {_line(error)}") from error


def is_page(url: str) -> None:
    """Refuse what is no address of a page; an empty text is none.

    Raises:
        ValidationError: saying what is wrong.
    """
    if url and not re.fullmatch(r"https?://[^/\s]\S*", url):
        raise ValidationError("it must be an address such as http://127.0.0.1:15672/")


def are_origins(origins: list[str]) -> None:
    """Refuse what is no origin, a scheme and a host.

    Raises:
        ValidationError: saying what is wrong.
    """
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValidationError("it must be origins with commas between them, such as https://tasks.example.com")


def _split(url: str, schemes: Collection[str], example: str) -> SplitResult:
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValidationError(f"it must be an address such as {example}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"its host or port cannot be read; a port is a number up to 65535; {CODES}") from error
    account_in_rest = parts.scheme != "sqlite" and "@" not in parts.netloc and "@" in parts.path + parts.query
    if port == 0 or parts.fragment or account_in_rest or BAD_CODE.search(parts.netloc + parts.path):
        raise ValidationError(f"its parts cannot be told apart: {CODES}")
    return parts


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
