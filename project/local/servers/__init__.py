"""Private servers without root and without Docker: a RabbitMQ node and a PostgreSQL of one's own.

`manage.py up`, `manage.py demo` and the integration tests start them from here. Everything listens on loopback only
and lives in a directory the caller names; nothing in this package imports Django.
"""
