"""Who sent a request: the address of its client, and the network by which clients are counted.

Guarantee: a client cannot choose its address. It is the peer of the connection or, with `NUM_PROXIES` trusted proxies,
what the outermost of them reported; where `TRUSTED_PROXIES` names proxies, only if the peer is one of these. A client
has one count however many addresses of its IPv6 network it uses, and whatever port a proxy reports with them.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

# A provider gives each client an IPv6 network of this size at least.
IPV6_PREFIX = 64
# As proxies report addresses: 192.0.2.1:50000, [2001:db8::1]:50000, [2001:db8::1]; some in quotation marks.
WITH_PORT = re.compile(r"\[(?P<ipv6>[^]]+)\](:\d*)?|(?P<ipv4>[\d.]+):\d*")


def client_address(request: HttpRequest | Request) -> str:
    """Return the address of a request's client without port and zone, an IPv4-mapped one as IPv4.

    What a proxy reports and is no address counts as the proxy's own. Empty if there is none: a Unix socket has none.
    """
    peer: str = request.META.get("REMOTE_ADDR", "")
    forwarded: str = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if settings.NUM_PROXIES and forwarded and _is_trusted(peer, tuple(settings.TRUSTED_PROXIES)):
        # Each proxy appends the address that it sees.
        return _address(forwarded.split(",")[-settings.NUM_PROXIES :][0]) or _address(peer)
    return _address(peer)


def counted_as(address: str) -> str:
    """Return what clients with this address are counted as: an IPv4 address itself, an IPv6 address by its network."""
    if ":" not in address:
        return address
    return str(IPv6Network((int(IPv6Address(address)), IPV6_PREFIX), strict=False))


@lru_cache(1_000)
def _is_trusted(peer: str, proxies: tuple[str, ...]) -> bool:
    """Return whether a peer is one of these proxies; where none is named, each is, as are those of a Unix socket."""
    address = _address(peer)
    return not proxies or not address or any(ip_address(address) in ip_network(each) for each in proxies)


def _address(text: str) -> str:
    text = text.strip().strip('"')
    if found := WITH_PORT.fullmatch(text):
        text = found["ipv6"] or found["ipv4"]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)
