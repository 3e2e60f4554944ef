"""Refuses keys and passwords that protect nothing: short, repetitive, or published with this service.

Guarantee: production does not start with one. The one error names every such variable, says why, and gives the command
that makes a good one; it never shows a value.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from settings.environment import BadSetting

COMMAND = """python3 -c "import secrets; print(secrets.token_hex(32))\""""

# Django's own limit (security.W009). Its other one, five different characters, is met by "abcde" ten times over:
# that is refused as a repetition, and eight different characters are fewer than any random key of this length has.
MIN_KEY_LENGTH = 50
MIN_DIFFERENT_CHARACTERS = 8
DJANGO_PREFIX = "django-insecure-"

# What stands in this repository, in its history or in its pages; a test looks there for more.
PUBLISHED_KEYS = frozenset(
    {
        "for-development-on-loopback-only-never-for-anything-that-others-can-reach",
        "for-tests-only-and-long-enough-to-sign-a-token-without-a-warning",
        "for-the-bench-only-and-long-enough-to-sign-a-token-without-a-warning",
        "zJ4-for-a-test-of-production-settings-of-sufficient-length-and-variety-8Kq",
    }
)
PUBLISHED_PASSWORDS = frozenset({"guest", "password", "secret", "pass123", "a-password-for-tests"})


def refuse_weak_secrets(*, keys: Iterable[tuple[str, str]], passwords: Mapping[str, str]) -> None:
    """Check keys, and the passwords in addresses, by the names of their variables.

    Raises:
        BadSetting: naming all that are weak, in one message.
    """
    found = {name: reason for name, key in keys if (reason := weakness_of_key(key))}
    found |= {name: reason for name, url in passwords.items() if (reason := weakness_of_address(url))}
    if found:
        reasons = "; ".join(f"{name} {reason}" for name, reason in found.items())
        raise BadSetting(f"Weak in the environment: {reasons}. Make a new one: {COMMAND}")


def weakness_of_key(key: str) -> str:
    """Return what is wrong with a key that signs; nothing if it is good."""
    if key in PUBLISHED_KEYS:
        return "is published: it stands in the service's source code"
    if key.startswith(DJANGO_PREFIX):
        return f"begins with {DJANGO_PREFIX}, as keys do that Django makes for development"
    if len(key) < MIN_KEY_LENGTH:
        return f"has {len(key)} characters, of {MIN_KEY_LENGTH} at least"
    if len(set(key)) < MIN_DIFFERENT_CHARACTERS:
        return f"has {len(set(key))} different characters, of {MIN_DIFFERENT_CHARACTERS} at least"
    # A text that repeats a shorter one is found in its double, elsewhere than at its two beginnings.
    if key[: len(key) // 2] in key[1:]:
        return "repeats a shorter text"
    return ""


def weakness_of_address(addresses: str) -> str:
    """Return what is wrong with the password in an address, or in one of several; nothing if there is none."""
    for url in map(urlsplit, filter(None, addresses.split(";"))):
        user, password = _account(url)
        if password in PUBLISHED_PASSWORDS:
            return "has a password that is published in the service's pages"
        if password and password == user:
            return "has the user's name for a password"
    return ""


def _account(url: SplitResult) -> tuple[str, str]:
    if url.scheme in ("amqp", "amqps") and url.username is None:
        return "guest", "guest"  # as pika has it
    return unquote(url.username or ""), unquote(url.password or "")
