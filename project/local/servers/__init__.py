"""Private servers without root and without Docker: a RabbitMQ node and a PostgreSQL server.

`manage.py up` and `manage.py demo` run the node; tests and measurements run both. They listen on loopback only, and
their files are in a directory that the caller names; nothing in this package imports Django.
"""
