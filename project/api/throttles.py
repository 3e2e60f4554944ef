"""How many requests a client may make.

Guarantee: a client without a token is counted by its address (`project.client_address`), which it cannot choose. While
the cache is unavailable, the service goes on without limits: each request is let through uncounted, and a warning is
logged.
"""

import logging
from typing import Any

from redis.exceptions import RedisError
from rest_framework import throttling
from rest_framework.request import Request

from project.client_address import client_address, counted_as

logger = logging.getLogger(__name__)


class LenientThrottle(throttling.SimpleRateThrottle):
    """Lets a request through while the cache that would count it is unavailable."""

    def allow_request(self, request: Request, view: Any) -> bool:
        try:
            return super().allow_request(request, view)
        except RedisError as error:
            logger.warning("request not counted: cache unavailable: %s", error)
            return True

    def get_ident(self, request: Request) -> str:
        """Return what a client is counted as: DRF's own counts each port, and each address of an IPv6 network."""
        return counted_as(client_address(request))


class AnonRateThrottle(LenientThrottle, throttling.AnonRateThrottle):
    """Counts clients without a token, by address."""


class UserRateThrottle(LenientThrottle, throttling.UserRateThrottle):
    """Counts signed-in users, by user."""

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        # DRF's own counts clients without a user too, by address: the limit for users would then limit their logins.
        return super().get_cache_key(request, view) if request.user.is_authenticated else None
