"""The REST API: authentication, permissions, pages, throttles, tokens, schema."""

import re
import tomllib
from datetime import timedelta
from typing import Any

from environs import ValidationError, validate

from settings.environment import ROOT, env

MIN_KEY_CHARACTERS = 32  # as many bytes as the signature, HMAC-SHA256, has


def _is_rate(rate: str) -> None:
    if not re.fullmatch(r"[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)|off", rate):
        raise ValidationError(f"{rate!r} is no rate; write a number and a period, such as 20/hour, or off")


def _is_key(key: str) -> None:
    if key and len(key) < MIN_KEY_CHARACTERS:
        raise ValidationError(
            f"a key needs {MIN_KEY_CHARACTERS} characters or more; make one with: "
            "python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )


def _are_keys(keys: list[str]) -> None:
    for key in keys:
        _is_key(key)


def _or_off(rate: str) -> str | None:
    return None if rate == "off" else rate


def _limit(rate: str) -> tuple[int, int] | None:
    number, _, period = rate.partition("/")
    return (int(number), {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[period[0]]) if period else None


# How many trusted proxies report the address by which clients are counted; 0 trusts none, because a client that can
# choose its address can spend another client's limit.
NUM_PROXIES = env.int("NUM_PROXIES", 0, validate=validate.Range(min=0))

# The largest request body, in bytes. Task titles and descriptions are text: a mebibyte is a long book chapter.
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 1024 * 1024, validate=validate.Range(min=1))
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# Whether a change or deletion of a task needs the task's ETag: If-Match, or if_match in a list of many.
REQUIRE_IF_MATCH = env.bool("REQUIRE_IF_MATCH", False)

# How long a request with an Idempotency-Key is remembered, in hours.
IDEMPOTENCY_HOURS = env.int("IDEMPOTENCY_HOURS", 24, validate=validate.Range(min=1))

# How long the database may work on a statement of a request, in seconds; an export may take six times as long. 0: no
# limit.
REQUEST_STATEMENT_SECONDS = env.float("REQUEST_STATEMENT_SECONDS", 10.0, validate=validate.Range(min=0))

# How many clients may follow the activity in each web process, and how many of them may be one user's; each has a
# thread there.
STREAM_CLIENTS = env.int("STREAM_CLIENTS", 16, validate=validate.Range(min=0))
STREAM_CLIENTS_PER_USER = env.int("STREAM_CLIENTS_PER_USER", 4, validate=validate.Range(min=1))

# How many exports each web process sends at a time, and how many of them to one user; each has a thread there.
EXPORT_CLIENTS = env.int("EXPORT_CLIENTS", 4, validate=validate.Range(min=0))
EXPORT_CLIENTS_PER_USER = env.int("EXPORT_CLIENTS_PER_USER", 2, validate=validate.Range(min=1))

# How many wrong passwords in how many seconds: from one address for one account; from one address; for one account,
# after which addresses that are new to it are slowed down.
LOGIN_LIMITS: dict[str, tuple[int, int] | None] = {
    "account and address": _limit(env.str("LOGIN_ATTEMPTS", "10/hour", validate=_is_rate)),
    "address": _limit(env.str("LOGIN_ATTEMPTS_ADDRESS", "100/hour", validate=_is_rate)),
    "account": _limit(env.str("LOGIN_ATTEMPTS_ACCOUNT", "50/hour", validate=_is_rate)),
}

# How many passwords each process checks at once; each takes a processor for a good part of a second.
LOGIN_HASHES = env.int("LOGIN_HASHES", 2, validate=validate.Range(min=1))

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "project.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": [
        "project.api.throttles.AnonRateThrottle",
        "project.api.throttles.UserRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {
        "anon": _or_off(env.str("THROTTLE_ANON", "60/minute", validate=_is_rate)),
        "user": _or_off(env.str("THROTTLE_USER", "1000/minute", validate=_is_rate)),
    },
    "NUM_PROXIES": NUM_PROXIES,
    "DEFAULT_RENDERER_CLASSES": [
        "project.api.json.FastJSONRenderer",
        "project.api.browsable.PageRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "project.api.negotiation.Negotiation",
    "DEFAULT_PARSER_CLASSES": ["project.api.json.SafeJSONParser"],
    "EXCEPTION_HANDLER": "project.api.errors.handle_exception",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

# Where the browsable API's login leads.
LOGIN_REDIRECT_URL = "/"

SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=env.int("ACCESS_TOKEN_MINUTES", 15, validate=validate.Range(min=1))),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=env.int("REFRESH_TOKEN_DAYS", 7, validate=validate.Range(min=1))),
    "AUTH_TOKEN_CLASSES": ("project.accounts.tokens.kinds.AccessToken",),
}

# The key that signs tokens; if it is empty, one that is derived from SECRET_KEY. Tokens that were signed with an old
# key stay valid for their time.
TOKEN_SIGNING_KEY = env.str("TOKEN_SIGNING_KEY", "", validate=_is_key)
TOKEN_OLD_SIGNING_KEYS: list[str] = list(filter(None, env.list("TOKEN_OLD_SIGNING_KEYS", [], validate=_are_keys)))

# The release; it stands in pyproject.toml alone.
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

SPECTACULAR_SETTINGS = {
    "TITLE": "Vazifa",
    "DESCRIPTION": (
        "Tasks over REST, whose background work cannot get lost.\n\n"
        "Sign in at `/api/token/`, and send the access token with each request: `Authorization: Bearer …`. Bodies are "
        "JSON. Texts for people are in the language of `Accept-Language`: uz, en or ru.\n\n"
        "Requests that do not reach the service are answered by the web server, in plain text: 408 if they do not come "
        "in time, 414 and 431 if the address or the headers are too long, 503 if there are too many connections."
    ),
    "VERSION": VERSION,
    "CONTACT": {"name": "The Vazifa authors"},
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "SERVERS": [{"url": "/", "description": "The service that this document is from."}],
    "TAGS": [
        {"name": "tasks", "description": "Every signed-in user reads all tasks; only its owner changes a task."},
        {"name": "activity", "description": "The log of all changes of tasks: each is one event, in order."},
        {"name": "tokens", "description": "Signing in and out. An access token opens the API for some minutes."},
        {"name": "health", "description": "Probes for load balancers and orchestrators."},
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "persistAuthorization": True,  # in the browser's storage: an access token ends soon
        "displayRequestDuration": True,
        "tryItOutEnabled": True,
        "defaultModelsExpandDepth": 0,  # the schemas are folded: each operation shows its own
    },
    # A browser's session is for the service's own pages, and no script can set its cookie.
    "AUTHENTICATION_WHITELIST": ["project.api.authentication.TokenAuthentication"],
    "COMPONENT_SPLIT_REQUEST": True,
    # What a value is called elsewhere says nothing to clients, in any language.
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    # Without drf-spectacular's hook for enums, which would part a type that may be null from its `nullable`.
    "POSTPROCESSING_HOOKS": ["project.api.schema.document"],
}
