"""Development: needs no variable. Not for a machine that others can reach."""

import os

from settings.addresses import is_page
from settings.base import *
from settings.environment import PRIVATE_NODE, VAR, BadSetting, env, source

DEBUG = env.bool("DEBUG", True)
SECRET_KEY = env.str("SECRET_KEY", "") or "for-development-on-loopback-only-never-for-anything-that-others-can-reach"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])

RABBITMQ_MANAGEMENT_URL = env.str("RABBITMQ_MANAGEMENT_URL", "", validate=is_page)

# `runserver` makes a thread for each request: a connection that outlives its request would outlive its thread.
DATABASES["default"]["CONN_MAX_AGE"] = 0

# Static files are served from the packages that have them, without `collectstatic`.
WHITENOISE_USE_FINDERS = True

# Django does not make the folder of its SQLite file.
try:
    VAR.parent.mkdir(parents=True, exist_ok=True)
    VAR.mkdir(mode=0o700, exist_ok=True)
except OSError as error:
    raise BadSetting(
        f"{source('STATE_DIR')}: {VAR} cannot be made ({error.strerror}: {error.filename}). "
        "Set it to a folder that this user may make or write to."
    ) from error

# In another terminal beside `make run`, all commands and processes use its RabbitMQ.
# Another user of this machine may not look.
if not env.str("RABBITMQ_URL", "") and os.access(PRIVATE_NODE, os.R_OK):
    RABBITMQ_URL = DRAMATIQ_BROKER["OPTIONS"]["url"] = PRIVATE_NODE.read_text("utf-8").strip()
