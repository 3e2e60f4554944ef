"""Tests: no `.env` is read, and nothing leaves the process unless a test asks for it."""

import os

os.environ["ENV_FILE"] = os.devnull

from settings.base import *

SECRET_KEY = "for-tests-only-and-long-enough-to-sign-a-token-without-a-warning"
ALLOWED_HOSTS = ["testserver", "127.0.0.1"]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": SQLITE_OPTIONS}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

DRAMATIQ_BROKER = {
    "BROKER": "actors.outbox.broker.OutboxStubBroker",
    "MIDDLEWARE": DRAMATIQ_MIDDLEWARE,
}

LOGGING["handlers"]["lines"]["filename"] = ""

# As the API takes nothing else.
REST_FRAMEWORK["TEST_REQUEST_DEFAULT_FORMAT"] = "json"

# Tests of throttles set rates of their own.
REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"] = {"anon": None, "user": None}

# Tests of logins set limits of their own.
LOGIN_LIMITS = dict.fromkeys(LOGIN_LIMITS)
LOGIN_HASHES = 100

# Tests step a relay themselves.
OUTBOX_RELAY_THREAD = False
