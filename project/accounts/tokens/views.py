"""The token endpoints."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenViewBase

from actors.rest.parameters import KnownParameters
from project.accounts.tokens import serializers


class TokenView(KnownParameters, TokenViewBase):
    """Answers what no cache may keep."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Cache-Control"], response.headers["Pragma"] = "no-store", "no-cache"
        return response


class TokenObtainPairView(TokenView):
    """Signs in: takes a username and a password, and returns an access and a refresh token."""

    serializer_class = serializers.TokenObtainPairSerializer


class TokenRefreshView(TokenView):
    """Takes a refresh token, and returns a new access token and the refresh token for the next time.

    A refresh token is good for one refresh. If it is used again, its sign-in ends, with all tokens that came of it.
    """

    serializer_class = serializers.TokenRefreshSerializer


class TokenVerifyView(TokenView):
    """Tells whether an access or refresh token is of use: not expired, not used up, and its user may still sign in."""

    serializer_class = serializers.TokenVerifySerializer


class LogoutView(TokenView):
    """Logs out: takes an access or refresh token, and ends the sign-in that it came of."""

    serializer_class = serializers.LogoutSerializer


class LogoutEverywhereView(TokenView):
    """Logs out everywhere: takes an access or refresh token, and ends all sign-ins of its user."""

    serializer_class = serializers.LogoutEverywhereSerializer
