"""The service, with responses that test the web server: some that break off, and one without an end."""

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

from project.wsgi import application as service


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    odd = ODD.get(environ["PATH_INFO"])
    if odd is None:
        return service(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return odd()


def break_off() -> Iterator[bytes]:
    yield b"half of it"
    raise RuntimeError("the other half is lost")


def go_on() -> Iterator[bytes]:
    return repeat(b"x" * 65_536)


ODD: dict[str, Callable[[], Iterator[bytes]]] = {"/breaks-off/": break_off, "/endless/": go_on}
