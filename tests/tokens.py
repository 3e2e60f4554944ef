"""Tokens for tests: of a real sign-in, without its password check."""

from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import AccessToken

from project.accounts.tokens.kinds import RefreshToken
from project.accounts.tokens.sign_ins import issue


def refresh_token(user: User) -> RefreshToken:
    return issue(user)


def access_token(user: User) -> AccessToken:
    return issue(user).access_token


def bearer(user: User) -> str:
    """Return the header of a request by this user."""
    return f"Bearer {access_token(user)}"
