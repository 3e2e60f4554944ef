"""The development settings, for thousands of requests a minute and no RabbitMQ."""

from settings.development import *  # noqa: F403 – as all settings do

DEBUG = False
# Hundreds of sign-ins: what a hash costs is the subject of other tests.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"] = {"anon": None, "user": None}  # noqa: F405
# Nearly all sign-ins are wrong, and from one address: with limits, none would be judged after the first hundred.
LOGIN_LIMITS = dict.fromkeys(LOGIN_LIMITS)  # noqa: F405
# Messages stay in the outbox.
OUTBOX_RELAY_THREAD = False
DRAMATIQ_BROKER["BROKER"] = "actors.outbox.broker.OutboxStubBroker"  # noqa: F405
del DRAMATIQ_BROKER["OPTIONS"]  # noqa: F405
