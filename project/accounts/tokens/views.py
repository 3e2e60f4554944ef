"""The token endpoints."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenViewBase

from actors.rest.known import KnownParameters
from project.accounts.tokens import serializers


class TokenView(KnownParameters, TokenViewBase):
    """Answers what no cache may keep."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Cache-Control"], response.headers["Pragma"] = "no-store", "no-cache"
        return response


REFUSED = OpenApiResponse(description="The token is forged, expired or used up, or its sign-in has ended.")
EMPTY = OpenApiResponse(OpenApiTypes.OBJECT, description="Done: an empty object.")


def _described(operation_id: str, **texts: Any) -> Any:
    """Describe the one operation of a view in the OpenAPI schema."""
    return extend_schema_view(post=extend_schema(operation_id=operation_id, tags=["tokens"], **texts))


@_described(
    "tokens_obtain",
    summary="Sign in",
    description="Takes a username and a password; returns an access token, and a refresh token for the next one.",
    responses={
        200: serializers.TokenObtainPairSerializer,
        401: OpenApiResponse(description="There is no active user with this name and password."),
        429: OpenApiResponse(description="Too many requests, or wrong passwords (code: `too_many_attempts`)."),
        503: OpenApiResponse(
            description="The database is not available, or too many users sign in at once (code: `login_busy`)."
        ),
    },
)
class TokenObtainPairView(TokenView):
    """Signs in: takes a username and a password, and returns an access and a refresh token."""

    serializer_class = serializers.TokenObtainPairSerializer


@_described(
    "tokens_refresh",
    summary="Refresh the tokens",
    description="Takes a refresh token; returns a new access token, and the refresh token for the next time. One "
    "that is used again ends its sign-in, with all tokens that came of it.",
    responses={200: serializers.TokenRefreshSerializer, 401: REFUSED},
)
class TokenRefreshView(TokenView):
    """Takes a refresh token, and returns a new access token and the refresh token for the next time.

    A refresh token is good for one refresh. If it is used again, its sign-in ends, with all tokens that came of it.
    """

    serializer_class = serializers.TokenRefreshSerializer


@_described(
    "tokens_verify",
    summary="Check a token",
    description="Whether an access or refresh token is of use: not expired, not used up, and its user may sign in.",
    responses={200: EMPTY, 401: REFUSED},
)
class TokenVerifyView(TokenView):
    """Tells whether an access or refresh token is of use: not expired, not used up, and its user may still sign in."""

    serializer_class = serializers.TokenVerifySerializer


@_described(
    "tokens_logout",
    summary="Log out",
    description="Takes an access or refresh token, and ends the sign-in that it came of. A second time is fine.",
    responses={200: EMPTY, 401: REFUSED},
)
class LogoutView(TokenView):
    """Logs out: takes an access or refresh token, and ends the sign-in that it came of."""

    serializer_class = serializers.LogoutSerializer


@_described(
    "tokens_logout_everywhere",
    summary="Log out everywhere",
    description="Takes an access or refresh token, and ends all sign-ins of its user.",
    responses={200: EMPTY, 401: REFUSED},
)
class LogoutEverywhereView(TokenView):
    """Logs out everywhere: takes an access or refresh token, and ends all sign-ins of its user."""

    serializer_class = serializers.LogoutEverywhereSerializer
