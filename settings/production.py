"""Production: refuses missing variables and weak secrets, and passes `check --deploy` without a warning."""

from environs import validate

from settings.addresses import are_origins
from settings.environment import VAR, env, require
from settings.weak_secrets import refuse_weak_secrets

require("SECRET_KEY", "DATABASE_URL", "RABBITMQ_URL", "ALLOWED_HOSTS")
_old_keys: list[str] = env.list("TOKEN_OLD_SIGNING_KEYS", [])
refuse_weak_secrets(
    keys=[
        *((name, env.str(name)) for name in ("SECRET_KEY", "TOKEN_SIGNING_KEY") if env.str(name, "")),
        *(("TOKEN_OLD_SIGNING_KEYS", key) for key in _old_keys if key),
    ],
    passwords={name: env.str(name, "") for name in ("DATABASE_URL", "RABBITMQ_URL", "CACHE_URL")},
)

from settings.base import *  # noqa: E402 – after `require`, whose one error names everything that is missing

SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [], validate=are_origins)

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_ROOT = env.path("STATIC_ROOT", VAR / "static")

SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", True)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 31_536_000, validate=validate.Range(min=0))
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", True)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
