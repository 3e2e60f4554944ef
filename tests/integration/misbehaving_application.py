"""The service, with responses that test the web server: broken ones, one without an end, one that shows the request."""

import json
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

from project.wsgi import application as service


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    odd = ODD.get(environ["PATH_INFO"])
    if odd is None:
        return service(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return odd(environ)


def break_off(_environ: dict[str, Any]) -> Iterator[bytes]:
    yield b"half of it"
    raise RuntimeError("the other half is lost")


def go_on(_environ: dict[str, Any]) -> Iterator[bytes]:
    return repeat(b"x" * 65_536)


def show(environ: dict[str, Any]) -> Iterator[bytes]:
    yield json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()


ODD: dict[str, Callable[[dict[str, Any]], Iterator[bytes]]] = {
    "/breaks-off/": break_off,
    "/endless/": go_on,
    "/shown/": show,
}
