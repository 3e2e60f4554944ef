"""A transactional outbox for Dramatiq over RabbitMQ. It depends on no particular actor and on no task."""
