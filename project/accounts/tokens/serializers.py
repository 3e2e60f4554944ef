"""What the token endpoints take and answer."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework import serializers
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from actors.rest.known import KnownFields
from project.accounts.tokens import sign_ins
from project.accounts.tokens.kinds import AnyToken, RefreshToken
from project.accounts.tokens.lookup import NoActiveUser


class TokenObtainPairSerializer(KnownFields, simplejwt.TokenObtainSerializer):
    """A username and a password, exchanged for two tokens."""

    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        super().validate(attrs)
        try:
            refresh = sign_ins.start(self.user, self.context["request"])
        except ObjectDoesNotExist:  # deleted since their password was checked
            raise _no_account(self) from None
        return _pair(refresh)


class TokenRefreshSerializer(KnownFields, simplejwt.TokenRefreshSerializer):
    """A refresh token, exchanged for the next two tokens."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return _pair(sign_ins.rotate(RefreshToken(attrs["refresh"]), self.context["request"]))
        except NoActiveUser:
            raise _no_account(self) from None


class TokenVerifySerializer(KnownFields, simplejwt.TokenVerifySerializer):
    """An access or refresh token, to be checked."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        sign_ins.check(AnyToken(attrs["token"]))
        return {}


class LogoutSerializer(KnownFields, simplejwt.TokenVerifySerializer):
    """An access or refresh token, whose sign-in ends."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        sign_ins.end(AnyToken(attrs["token"]), self.context["request"])
        return {}


class LogoutEverywhereSerializer(KnownFields, simplejwt.TokenVerifySerializer):
    """An access or refresh token, whose user's sign-ins all end."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        sign_ins.end_all(sign_ins.check(AnyToken(attrs["token"])), self.context["request"])
        return {}


def _pair(refresh: RefreshToken) -> dict[str, str]:
    return {"refresh": str(refresh), "access": str(refresh.access_token)}


def _no_account(serializer: serializers.Serializer[Any]) -> AuthenticationFailed:
    return AuthenticationFailed(str(serializer.error_messages["no_active_account"]), "no_active_account")
