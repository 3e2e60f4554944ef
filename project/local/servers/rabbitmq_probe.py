"""Asks a RabbitMQ node on loopback whether it serves: AMQP on one port, the management UI on another."""

import http.client
import socket

from project.local.servers.ports import LOOPBACK

AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"
TIMEOUT_SECONDS = 2.0


def answers_amqp(port: int) -> bool:
    """Say whether the AMQP 0-9-1 header is answered with the start of a connection."""
    try:
        with socket.create_connection((LOOPBACK, port), TIMEOUT_SECONDS) as connection:
            connection.sendall(AMQP_HEADER)
            return connection.recv(1) == METHOD_FRAME
    except OSError:
        return False


def answers_http(port: int) -> bool:
    """Say whether an HTTP server answers, with anything but an error of its own."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
