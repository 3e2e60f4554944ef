"""Carries the messages of actors to RabbitMQ. Knows no actor and no task."""
