"""The settings of a `startproject` that was made fit for production, and the lesson's additions."""

import os
from datetime import timedelta
from typing import Any

import dj_database_url

PEER = os.environ["PEER"]
IS_DRAMATIQ = PEER.startswith("dramatiq")
WRITES_ROW = "-row" in PEER
SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "bench.peers.apps.PeersConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "bench.peers.urls"
WSGI_APPLICATION = "bench.peers.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=60)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "Asia/Tashkent"
USE_TZ = True
STATIC_URL = "static/"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 5,
}
SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(hours=1)}

CELERY_BROKER_URL = os.environ["BROKER_URL"]
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TIMEZONE = TIME_ZONE
if PEER == "celery-redis":
    CELERY_RESULT_BACKEND = CELERY_BROKER_URL
    CELERY_RESULT_SERIALIZER = "json"

if WRITES_ROW and not PEER.endswith("-reconnecting"):
    # Celery's workers close each database connection before and after each task, in spite of `CONN_MAX_AGE`, unless
    # they are given a number of tasks that may share one.
    CELERY_DB_REUSE_MAX = 10_000

if IS_DRAMATIQ:
    INSTALLED_APPS.insert(0, "django_dramatiq")
    DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]
    DRAMATIQ_BROKER: dict[str, Any] = {
        "BROKER": "dramatiq.brokers.rabbitmq.RabbitmqBroker",
        "OPTIONS": {"url": os.environ["BROKER_URL"]},
        "MIDDLEWARE": [
            "dramatiq.middleware.AgeLimit",
            "dramatiq.middleware.TimeLimit",
            "dramatiq.middleware.Callbacks",
            "dramatiq.middleware.Retries",
            "django_dramatiq.middleware.DbConnectionsMiddleware",
        ],
    }
    if WRITES_ROW:
        # The row has the message's id, which an actor learns from this.
        DRAMATIQ_BROKER["MIDDLEWARE"].append("dramatiq.middleware.CurrentMessage")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": os.environ["LOG_FILE"], "formatter": "line"},
    },
    "loggers": {
        "django": {"handlers": ["file"], "level": "INFO", "propagate": False},
        "bench.peers": {"handlers": ["file"], "level": "INFO", "propagate": False},
    },
}
