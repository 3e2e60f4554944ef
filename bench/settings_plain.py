"""What the outbox is measured against: the same service, whose sends go straight to RabbitMQ, unconfirmed."""

from settings.production import *  # noqa: F403

DRAMATIQ_BROKER = {**DRAMATIQ_BROKER, "BROKER": "dramatiq.brokers.rabbitmq.RabbitmqBroker"}  # noqa: F405
OUTBOX_RELAY_THREAD = False
