"""Finds a token's user: one statement reads user and family at each request, so that nothing is remembered.

Guarantee: a token is refused from the commit on that deactivated or deleted its user, changed their password or ended
the token's family, in every process.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.translation import gettext as _
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from project.accounts.tokens.families import TokenFamily, digest_of_password


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
    own = connections[DEFAULT_DB_ALIAS]
    lookup = _lookup(own.vendor)
    with own.cursor() as cursor:
        cursor.execute(lookup.statement, (family, user_pk))
        row = cursor.fetchone()
    if row is None:
        raise NoActiveUser(_("User not found"), "user_not_found")
    is_alive, refresh_id, password_digest, *values = row
    for index, convert in lookup.converters:
        values[index] = convert(values[index], own)
    user = lookup.model.from_db(DEFAULT_DB_ALIAS, lookup.attributes, values)
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

    model: type[AbstractBaseUser]

    statement: str
    """Constant, so that PostgreSQL keeps it (`prepare_threshold`)."""

    attributes: list[str]

    converters: list[tuple[int, Callable[[Any, Any], Any]]]
    """What makes Python's value of the database's, for the user's field of this index; on PostgreSQL none is needed."""


@cache
def _lookup(vendor: str) -> Lookup:
    own = connections[DEFAULT_DB_ALIAS]
    quote = own.ops.quote_name
    model = get_user_model()
    users, fields = model._meta, model._meta.concrete_fields
    key = quote(str(users.pk.column))
    columns = ", ".join(f"person.{quote(str(field.column))}" for field in fields)
    statement = (
        "SELECT family.id IS NOT NULL AND family.ended_at IS NULL, family.refresh_id, family.password_digest, "  # noqa: S608 – names of the models
        f"{columns} FROM {quote(users.db_table)} AS person LEFT JOIN {quote(TokenFamily._meta.db_table)} AS family "
        f"ON family.id = %s AND family.user_id = person.{key} WHERE person.{key} = %s"
    )
    return Lookup(model, statement, [field.attname for field in fields], list(_converters(fields, own)))


def _converters(fields: Sequence[Any], own: Any) -> Iterator[tuple[int, Callable[[Any, Any], Any]]]:
    for index, field in enumerate(fields):
        expression = field.get_col("person")
        for convert in [*own.ops.get_db_converters(expression), *field.get_db_converters(own)]:
            yield index, lambda value, own, convert=convert, expression=expression: convert(value, expression, own)  # type: ignore[misc]
