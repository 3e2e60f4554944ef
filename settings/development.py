"""Development: needs no environment at all. Not for machines that others can reach."""

from settings.base import *
from settings.environment import VAR, env

DEBUG = env.bool("DEBUG", True)
SECRET_KEY = env.str("SECRET_KEY", "for-development-on-loopback-only-never-for-anything-that-others-can-reach")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])

# `runserver` makes a thread for each request, and a connection that outlives its request would outlive its thread.
DATABASES["default"]["CONN_MAX_AGE"] = 0

# Assets are served from where the packages keep them: no `collectstatic` before the first page.
WHITENOISE_USE_FINDERS = True

# Django does not make the folder of its SQLite file.
VAR.mkdir(parents=True, exist_ok=True)
