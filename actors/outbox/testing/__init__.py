"""Runs messages in tests, without RabbitMQ: `OutboxStubBroker` in the settings, or an `InlineWorker` step by step.

Guarantee: a message ends as in a worker behind RabbitMQ. It runs on Dramatiq's path, through every hook and the same
execution; retries, follow-ups and dead letters are rows, with the same reasons. Messages are in the table alone: a test
whose transaction is rolled back leaves none behind.

`stub_broker` is the base of the broker, `deliveries` hands rows' messages to workers, `inline` runs them in the
caller's thread, `row_queues` counts them as Dramatiq's own StubBroker does. Those that the broker needs at import know
no models: Dramatiq makes its broker before they are loaded.
"""

from actors.outbox.testing.inline import InlineWorker

__all__ = ["InlineWorker"]
