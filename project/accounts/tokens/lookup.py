"""Finds a token's user: one statement reads user and family at each request, so that nothing is remembered.

Guarantee: a token is refused from the commit on that deactivated or deleted its user, changed their password or ended
the token's family, in every process.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.translation import gettext as _
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from project.accounts.tokens.families import TokenFamily, digest_of_password

OF_FAMILY = 3
"""So many columns of the statement are not the user's."""


class NoActiveUser(AuthenticationFailed):
    """Raised for a token whose user is gone or inactive."""


class Found(NamedTuple):
    """What a token stands for."""

    user: Any

    refresh_id: str
    """Of the family's refresh token that is valid now."""


def find(family: str, user_pk: Any) -> Found:
    """Return what a token stands for that names this family and user.

    Raises:
        NoActiveUser: the user is gone or inactive.
        AuthenticationFailed: the user has another password, or the family has ended.
    """
    row = _read(family, user_pk)
    if row is None:
        raise NoActiveUser(_("User not found"), "user_not_found")
    (is_alive, refresh_id, password_digest), user = row[:OF_FAMILY], _make_user(row[OF_FAMILY:])
    if not user.is_active:
        raise NoActiveUser(_("User is inactive"), "user_inactive")
    if not is_alive:
        raise has_ended()
    if password_digest != digest_of_password(user):
        raise AuthenticationFailed(_("The user's password has been changed."), "password_changed")
    return Found(user, refresh_id)


def has_ended() -> AuthenticationFailed:
    """Return the refusal of a token whose family has ended."""
    return AuthenticationFailed(_("The sign-in of this token has ended. Sign in again."), "signed_out")


class Lookup(NamedTuple):
    """How a user is read from one kind of database."""

    statement: str

    converters: dict[int, list[Callable[..., Any]]]
    """What makes Python's values of the database's, by the index of the user's field; on PostgreSQL nothing has to."""

    expressions: dict[int, Any]

    attributes: list[str]


def _read(family: str, user_pk: Any) -> tuple[Any, ...] | None:
    own = connections[DEFAULT_DB_ALIAS]
    with own.cursor() as cursor:
        # Constant, so PostgreSQL keeps it (`prepare_threshold`).
        cursor.execute(_lookup(own.vendor).statement, (family, user_pk))
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _make_user(values: tuple[Any, ...]) -> Any:
    own = connections[DEFAULT_DB_ALIAS]
    lookup = _lookup(own.vendor)
    if lookup.converters:
        converted = list(values)
        for index, converters in lookup.converters.items():
            for convert in converters:
                converted[index] = convert(converted[index], lookup.expressions[index], own)
        values = tuple(converted)
    return get_user_model().from_db(DEFAULT_DB_ALIAS, lookup.attributes, values)


@cache
def _lookup(vendor: str) -> Lookup:
    own = connections[DEFAULT_DB_ALIAS]
    quote = own.ops.quote_name
    users = get_user_model()._meta
    fields = users.concrete_fields
    key = quote(str(users.pk.column))
    statement = (
        "SELECT family.id IS NOT NULL AND family.ended_at IS NULL, family.refresh_id, family.password_digest, "  # noqa: S608 – names of the models
        f"{', '.join(f'person.{quote(str(field.column))}' for field in fields)} FROM {quote(users.db_table)} AS person "
        f"LEFT JOIN {quote(TokenFamily._meta.db_table)} AS family "
        f"ON family.id = %s AND family.user_id = person.{key} "
        f"WHERE person.{key} = %s"
    )
    expressions = {index: field.get_col("person") for index, field in enumerate(fields)}
    converters = {
        index: [*own.ops.get_db_converters(expression), *fields[index].get_db_converters(own)]
        for index, expression in expressions.items()
    }
    needed = {index: each for index, each in converters.items() if each}
    return Lookup(statement, needed, expressions, [field.attname for field in fields])
