"""The fields of a body: those that the resource does not have are refused, in both APIs and by the token endpoints."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

MAX_NAMED = 20


class KnownFields(serializers.Serializer[Any]):
    """Refuses a body with fields that it does not have: DRF would drop them in silence.

    Fields that are only read are known, and ignored: what a client has read, it may change and send back.
    """

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values.

        Raises:
            ValidationError: a value is invalid, or a field unknown; up to `MAX_NAMED` unknown ones are named.
        """
        unknown = (name for name in data if name not in self.fields) if isinstance(data, Mapping) else ()
        errors = {writable(name): [_("There is no such field.")] for name in islice(unknown, MAX_NAMED)}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            said: Any = error.detail
            raise serializers.ValidationError(said | errors) from None
        if errors:
            raise serializers.ValidationError(errors)
        return values


def writable(name: str) -> str:
    r"""Return a name out of a client's JSON as a text that UTF-8 can encode: a lone surrogate becomes `\udc00`."""
    return name.encode(errors="backslashreplace").decode()
