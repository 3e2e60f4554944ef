"""By which address a client is logged and counted, whatever it or a proxy sends."""

from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request

from project.api.throttles import AnonRateThrottle
from project.client_address import client_address, counted_as

PEER = "10.0.0.1"


def address(forwarded: str | None, *, peer: str = PEER) -> str:
    request = RequestFactory().get("/", REMOTE_ADDR=peer)
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    return client_address(request)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "client"),
    [
        (0, None, PEER),
        (0, "192.0.2.1", PEER),
        (1, None, PEER),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "forged, 192.0.2.1", "192.0.2.1"),
        (2, "forged, 192.0.2.1, 192.0.2.2", "192.0.2.1"),
        (2, "192.0.2.1", "192.0.2.1"),
    ],
)
def test_the_outermost_trusted_proxy_says_who_the_client_is(
    settings: Any, proxies: int, forwarded: str | None, client: str
) -> None:
    settings.NUM_PROXIES = proxies
    assert address(forwarded) == client


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (PEER, "192.0.2.1"),
        (f"::ffff:{PEER}", "192.0.2.1"),
        ("2001:db8::1", "192.0.2.1"),
        ("", "192.0.2.1"),  # of a Unix socket, which the web server trusts too
        ("10.0.1.1", "10.0.1.1"),
        ("2001:db8:1::1", "2001:db8:1::1"),
    ],
)
def test_where_proxies_are_named_no_other_peer_says_who_the_client_is(settings: Any, peer: str, client: str) -> None:
    settings.NUM_PROXIES, settings.TRUSTED_PROXIES = 1, ["10.0.0.0/24", "2001:db8::/48"]
    assert address("192.0.2.1", peer=peer) == client


@pytest.mark.parametrize(
    ("reported", "client"),
    [
        ("192.0.2.1:50123", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:50123", "2001:db8::1"),
        ('"[2001:db8::1]:50123"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:50123", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        # What is no address is the proxy's.
        ("", PEER),
        (" ", PEER),
        ("unknown", PEER),
        ("192.0.2.999", PEER),
        ("192.0.2.1:50123:1", PEER),
        ("[192.0.2.1", PEER),
        ("[]:1", PEER),
        ("1", PEER),
        ("\x00\n", PEER),
    ],
)
def test_an_address_is_read_as_proxies_report_it(settings: Any, reported: str, client: str) -> None:
    settings.NUM_PROXIES = 1
    assert address(f"forged, {reported}") == client


@pytest.mark.parametrize("peer", ["", "@", "garbage"])
def test_a_client_over_a_unix_socket_has_none(peer: str) -> None:
    assert (address(None, peer=peer), counted_as("")) == ("", "")


@given(forwarded=st.text(), proxies=st.integers(0, 3))
def test_whatever_is_reported_is_an_address(forwarded: str, proxies: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.NUM_PROXIES", proxies)
        assert counted_as(address(forwarded))


@pytest.mark.parametrize(
    ("one", "another", "are_one"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_an_ipv6_client_is_counted_by_its_network(one: str, another: str, are_one: bool) -> None:
    assert (counted_as(one) == counted_as(another)) is are_one


@pytest.mark.parametrize(
    ("one", "another"),
    [("192.0.2.1:1", "192.0.2.1:2"), ("[2001:db8::1]:1", "2001:db8::2"), ("::ffff:1.2.3.4", "1.2.3.4")],
)
def test_throttles_count_these_as_one_client(settings: Any, one: str, another: str) -> None:
    settings.NUM_PROXIES = 1
    throttle = AnonRateThrottle()
    idents = {
        throttle.get_ident(Request(RequestFactory().get("/", HTTP_X_FORWARDED_FOR=reported)))
        for reported in (one, another)
    }
    assert len(idents) == 1
