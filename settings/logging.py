"""Logging: to the terminal and to one file, in whole lines, from any number of processes."""

from typing import Any

from environs import validate

from settings.environment import ROOT, env

# The language of log lines about tasks, for all clients.
LOG_LANGUAGE = env.str("LOG_LANGUAGE", "uz", validate=validate.OneOf(["uz", "en", "ru"]))
# Empty for no file: in a container the terminal is the log.
LOG_FILE = env.str("LOG_FILE", str(ROOT / "debug.log"))
LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
# Whether each request is a line of the log; those for static files and health probes never are.
ACCESS_LOG = env.bool("ACCESS_LOG", False)

_CALLBACK = "django.utils.log.CallbackFilter"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "project.logs.LineFormatter",
            "format": "{asctime} {levelname} {name}[{process}] {message}",
            "style": "{",
        },
    },
    "filters": {
        "quiet_addresses": {"()": _CALLBACK, "callback": "ext://project.logs.is_worth_a_line"},
        "unlogged": {"()": _CALLBACK, "callback": "ext://project.logs.is_unlogged"},
        "without_traceback": {"()": _CALLBACK, "callback": "ext://project.logs.drop_traceback"},
    },
    "handlers": {
        "lines": {"class": "project.logs.LineHandler", "filename": LOG_FILE, "formatter": "line"},
        "runserver": {"class": "logging.StreamHandler", "formatter": "line"},
    },
    "root": {"handlers": ["lines"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # An error of a client is in the access log only; an ERROR is an error of the service.
        "django.request": {"level": "ERROR", "filters": ["unlogged"]},
        # `runserver` writes the request as the client sent it, and only to the terminal.
        "django.server": {"handlers": ["runserver"], "propagate": False},
        "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        # gunicorn would give these loggers handlers and formats of its own.
        "gunicorn.error": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "gunicorn.access": {
            "handlers": [],
            "level": "INFO" if ACCESS_LOG else "CRITICAL",
            "filters": ["quiet_addresses"],
            "propagate": True,
        },
        "httpx": {"level": "WARNING"},
    },
}
