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
    named = with_connection_name(one, "a name")
    assert named.client_properties == {"product": "x", "connection_name": "a name"}
    assert named.heartbeat == 7
    assert one.client_properties == {"product": "x"}
