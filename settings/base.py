"""Settings of every environment: applications, middleware, database, languages, static files."""

from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import dj_database_url
import django_stubs_ext
from environs import ValidationError, validate

from settings.addresses import are_cache_urls, is_database_url
from settings.api import *
from settings.environment import ROOT, VAR, env
from settings.logging import *
from settings.messaging import *
from settings.pages import *
from settings.proxies import *

# Lets generic classes be written as the type checker wants them, `ModelAdmin[Task]`, at run time too.
django_stubs_ext.monkeypatch()


def _is_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ValidationError("it must be a time zone's name, such as Europe/Berlin") from error


DEBUG = False
ALLOWED_HOSTS: list[str] = []

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "project",  # before django_dramatiq, whose `rundramatiq` its own replaces
    "django_dramatiq",
    "actors.outbox",
    "actors",
    "tasks",
    "project.accounts",
]

MIDDLEWARE = [
    # Before all that may answer: its headers are on every response, those to a bad host and to plain http included.
    "django.middleware.security.SecurityMiddleware",
    "project.security_headers.PageHeaders",
    "project.middleware.BodilessHead",
    "project.middleware.RequestOrigin",
    "project.https.RequireHttps",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "project.middleware.Languages",
    "project.middleware.RequestLimits",
    "project.middleware.Addresses",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "project.middleware.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "project.middleware.PageErrors",
    "project.middleware.ReleasedViews",
]

# SecurityMiddleware redirects nothing, whatever SECURE_SSL_REDIRECT is: RequireHttps does, and refuses requests with
# credentials.
SECURE_REDIRECT_EXEMPT = [""]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "project" / "templates"],  # before DRF's and the admin's, some of which it replaces
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTHENTICATION_BACKENDS = ["project.accounts.backends.LimitedBackend"]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# SQLite has one writer at a time. A transaction that takes the write lock at its start waits for it; one that needs it
# halfway would fail at once with "database is locked".
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,  # seconds
    "init_command": "PRAGMA journal_mode=WAL",
}

# A client that vanishes must not keep its row locks. One that is silent in the middle of a transaction keeps them for
# half a minute longer than an actor may run; one whose machine is gone, for half a minute; one that was killed, for
# five seconds, where PostgreSQL would by default notice only at the end of its statement. `actors.outbox.db.session`
# sets these in each new session; units are PostgreSQL's own, milliseconds or (`tcp_…`) seconds.
OUTBOX_POSTGRESQL_SESSION: dict[str, str | int] = {
    # A stricter level fails with an error where this one waits for a lock and goes on.
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": OUTBOX_TIME_LIMIT_MS + 30_000,
    "client_connection_check_interval": 5_000,
    "tcp_keepalives_idle": 15,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    # A statement is parsed once a connection and planned at each execution: a plan for every limit and owner would be
    # good for few of them.
    "plan_cache_mode": "force_custom_plan",
}
# A server that cannot be reached must not block a request, least of all a health probe; a client notices within half a
# minute that it has vanished.
POSTGRESQL_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,  # seconds, as are the next two
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    # Of several hosts the one that accepts writes; never a standby.
    "target_session_attrs": "read-write",
    "server_side_binding": True,  # PostgreSQL then gets one statement with parameters, which it can keep:
    "prepare_threshold": 5,
}

_DATABASE_URL = env.str("DATABASE_URL", f"sqlite:///{quote(str(VAR / 'db.sqlite3'))}", validate=is_database_url)
DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(_DATABASE_URL, conn_max_age=60, conn_health_checks=True),
}
# What DATABASE_URL sets explicitly overrides these.
DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.sqlite3": SQLITE_OPTIONS,
    "django.db.backends.postgresql": POSTGRESQL_OPTIONS,
}
DATABASES["default"]["OPTIONS"] = {
    **DATABASE_OPTIONS.get(DATABASES["default"]["ENGINE"], {}),
    **DATABASES["default"].get("OPTIONS", {}),
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# How many processes gunicorn runs, each with a memory of its own.
WEB_CONCURRENCY = env.int("WEB_CONCURRENCY", 1, validate=validate.Range(min=1))

CACHE_URL = env.str("CACHE_URL", "", validate=are_cache_urls)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        # Seconds. A cache that does not answer may not hold up a request for longer.
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }
    if CACHE_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# How long security events are kept, in days: `manage.py prune_security_events` deletes older ones.
SECURITY_EVENT_DAYS = env.int("SECURITY_EVENT_DAYS", 90, validate=validate.Range(min=1))

LANGUAGE_CODE = "en"
LANGUAGES = [("uz", "Oʻzbekcha"), ("en", "English"), ("ru", "Русский")]
LOCALE_PATHS = [ROOT / "locale", ROOT / "locale" / "libraries"]
TIME_ZONE = env.str("TIME_ZONE", "Asia/Tashkent", validate=_is_time_zone)
USE_TZ = True

STATIC_URL = "/static/"
