"""The refresh of tokens, where simplejwt alone would answer 500."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework import serializers
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import AuthenticationFailed


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """Refuses the token of a deleted user as it does that of an inactive one."""

    refresh = serializers.CharField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist:
            raise AuthenticationFailed(str(self.error_messages["no_active_account"]), "no_active_account") from None
