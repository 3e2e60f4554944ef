"""Private servers without root and without Docker: a RabbitMQ node and a PostgreSQL server.

`manage.py up` and `manage.py demo` run the node; tests and benchmarks run both. They listen on loopback only and keep
their files in a directory that the caller names. Nothing in this package imports Django.
"""
