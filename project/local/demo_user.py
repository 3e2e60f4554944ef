"""The account that `make run` and `make demo` create: only in development, and in a database that they have made."""

USERNAME = "user1"
PASSWORD = "pass123"  # noqa: S105 – published in the README; only for development
