"""Detects that a private part of a library on which this service relies has changed."""

import hashlib
import inspect
from importlib.metadata import version
from pkgutil import resolve_name

import pytest


def fail_if_changed(part: str, known: str, use: str, *, module: str) -> None:
    """Fail if a function or class has another source than the one that was read, and say what to look at.

    Args:
        part: such as `pika.connection:Connection._terminate_stream`.
        known: the digest of the source that was read.
        use: what relies on it.
        module: the one with this library's private parts; its docstring names the version that was read.
    """
    library = part.partition(".")[0]
    try:
        found = hashlib.sha256(inspect.getsource(resolve_name(part)).encode()).hexdigest()[:12]
    except (ImportError, AttributeError):
        found = "gone"
    if found != known:
        pytest.fail(
            f"{library} {version(library)}: {part} has changed since {module} was written ({found}, was {known}).\n"
            f"Read it, make good {use}, then note the new digest here and the new version in {module}."
        )
