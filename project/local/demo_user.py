"""The account that `make run` and `make demo` create, only in development and only on loopback."""

USERNAME = "user1"
PASSWORD = "pass123"  # noqa: S105 – published in the README; only for development, only on loopback
