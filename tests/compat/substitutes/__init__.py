"""The package `tests` in which Dramatiq's own modules of tests run: Django is set up, brokers are the outbox's.

`tests.compat.runs` copies these files beside those modules, where `fixtures` is the `conftest` that Dramatiq's source
distribution lacks.
"""

import os

import django

django.setup()

import dramatiq.brokers.rabbitmq  # noqa: E402 – Django's settings make the first broker
import pika  # noqa: E402

from actors.outbox.broker import OutboxRabbitmqBroker  # noqa: E402
from actors.outbox.discovery import import_actors  # noqa: E402

# What names no port, as Dramatiq's tests do, leads to the private node.
pika.connection.Parameters.DEFAULT_PORT = pika.URLParameters(os.environ["RABBITMQ_URL"]).port
dramatiq.brokers.rabbitmq.RabbitmqBroker = OutboxRabbitmqBroker  # type: ignore[misc]
# The service's own actors belong to the broker of the settings, none to that of a test.
import_actors()
