"""Connections are named after the process that they belong to."""

import os

import pika
from pytest_django import Settings

from actors.outbox.amqp.client_names import process_name, with_connection_name


def test_a_process_is_named_after_the_service_its_role_and_itself(settings: Settings) -> None:
    settings.OUTBOX_APPLICATION = "shop"
    assert process_name("relay").startswith("shop relay ")
    assert process_name("relay").endswith(f" pid={os.getpid()}")


def test_naming_a_connection_leaves_the_brokers_parameters_as_they_are() -> None:
    one = pika.ConnectionParameters(heartbeat=7, client_properties={"product": "x"})
    [named] = with_connection_name([one], "a name")
    assert named.client_properties == {"product": "x", "connection_name": "a name"}
    assert named.heartbeat == 7
    assert one.client_properties == {"product": "x"}


def test_connections_do_not_all_begin_at_the_same_address() -> None:
    cluster = [pika.ConnectionParameters(host) for host in "abc"]
    drawn = [[each.host for each in with_connection_name(cluster, "a name")] for _ in range(100)]
    assert {hosts[0] for hosts in drawn} == set("abc")
    assert all(sorted(hosts) == ["a", "b", "c"] for hosts in drawn)
