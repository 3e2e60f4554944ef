"""What RabbitMQ refuses at a login, and what is no RabbitMQ, are one line that says what to do."""

import http.server
import threading
from collections.abc import Iterator

import dramatiq
import pika
import pytest

from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.exceptions import AccessRefused
from project.local.servers.ports import LOOPBACK
from project.local.servers.rabbitmq import PrivateRabbitmq

pytestmark = pytest.mark.integration

PASSWORD = "a-password-for-tests"
NOTHING, ALL = "^$", ".*"


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    """The port of an HTTP server."""
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), http.server.SimpleHTTPRequestHandler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def user(rabbitmq: PrivateRabbitmq) -> Iterator[str]:
    """A user without rights."""
    rabbitmq.rabbitmqctl("add_user", "guest2", secret=PASSWORD)
    yield "guest2"
    rabbitmq.rabbitmqctl("delete_user", "guest2")


def log_in(*urls: str) -> None:
    broker = OutboxRabbitmqBroker(url=";".join(urls), middleware=[])
    dramatiq.actor(broker=broker, queue_name="login")(lambda: None)
    try:
        broker.log_in()
    finally:
        broker.close()


def refusal(*urls: str) -> AccessRefused:
    with pytest.raises(AccessRefused) as refused:
        log_in(*urls)
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    return refused.value


def test_a_login_leaves_queues_and_takes_no_message(rabbitmq: PrivateRabbitmq) -> None:
    log_in(rabbitmq.url)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "login", b"waiting")
        log_in(rabbitmq.url)
        method, _properties, body = channel.basic_get("login", auto_ack=True)
        assert (body, method.redelivered, method.message_count) == (b"waiting", False, 0)
        for queue in ("login", "login.XQ"):
            channel.queue_delete(queue)


def test_any_address_that_admits_the_user_will_do(rabbitmq: PrivateRabbitmq, closed_port: int, web_port: int) -> None:
    log_in(f"amqp://a:b@{LOOPBACK}:{closed_port}/", f"amqp://a:b@{LOOPBACK}:{web_port}/", rabbitmq.url)


def test_a_wrong_password_is_named_before_an_address_that_does_not_answer(
    rabbitmq: PrivateRabbitmq, closed_port: int
) -> None:
    place = f"{LOOPBACK}:{rabbitmq.amqp_port}"
    refused = refusal(f"amqp://a:b@{LOOPBACK}:{closed_port}/", f"amqp://vazifa:{PASSWORD}@{place}/")
    text = f"RabbitMQ at {place} refuses the user vazifa with this password: correct RABBITMQ_URL."
    assert (str(refused), refused.is_final) == (text, True)


def test_a_vhost_that_is_missing_or_refused_is_named(rabbitmq: PrivateRabbitmq, user: str) -> None:
    missing = refusal(f"{rabbitmq.url}nowhere")
    refused = refusal(f"amqp://{user}:{PASSWORD}@{LOOPBACK}:{rabbitmq.amqp_port}/")
    assert "refuses the vhost: 530 NOT_ALLOWED - vhost nowhere not found" in str(missing)
    assert f"refuses the vhost: 530 NOT_ALLOWED - access to vhost '/' refused for user '{user}'" in str(refused)
    assert missing.is_final
    assert refused.is_final


@pytest.mark.parametrize("missing", ["write", "read"])
def test_each_right_that_is_missing_is_found(rabbitmq: PrivateRabbitmq, user: str, missing: str) -> None:
    log_in(rabbitmq.url)  # the queues are there, and empty
    rights = [ALL, *(NOTHING if each == missing else ALL for each in ("write", "read"))]
    rabbitmq.rabbitmqctl("set_permissions", user, *rights)
    refused = refusal(f"amqp://{user}:{PASSWORD}@{LOOPBACK}:{rabbitmq.amqp_port}/")
    assert "ACCESS_REFUSED" in str(refused)
    assert f"Give {user} all rights in the vhost (rabbitmqctl set_permissions: configure, write, read)." in str(refused)
    assert refused.is_final
    rabbitmq.rabbitmqctl("clear_permissions", user)


def test_who_may_not_configure_queues_needs_queues_that_are_there(rabbitmq: PrivateRabbitmq, user: str) -> None:
    url = f"amqp://{user}:{PASSWORD}@{LOOPBACK}:{rabbitmq.amqp_port}/"
    log_in(rabbitmq.url)  # the queues are there
    rabbitmq.rabbitmqctl("set_permissions", user, NOTHING, ALL, ALL)
    log_in(url)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        connection.channel().queue_delete("login")
    refused = refusal(url)
    rabbitmq.rabbitmqctl("clear_permissions", user)
    assert "refuses queue=login reason=" in str(refused)
    assert "or give the user of RABBITMQ_URL the right to configure it" in str(refused)
    assert refused.is_final


def test_a_queue_with_other_arguments_is_named(rabbitmq: PrivateRabbitmq) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.queue_delete("login")
        channel.queue_declare("login", durable=True)
        refused = refusal(rabbitmq.url)
        channel.queue_delete("login")
    assert "refuses queue=login argument=x-" in str(refused)
    assert refused.is_final


def test_a_rabbitmq_that_takes_no_messages_may_do_so_yet(rabbitmq: PrivateRabbitmq) -> None:
    rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "0")
    try:
        refused = refusal(rabbitmq.url)
    finally:
        rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
    assert "takes no messages now, for lack of memory or disk space" in str(refused)
    assert not refused.is_final


def test_what_does_not_answer_or_is_no_rabbitmq_may_come_yet(
    rabbitmq: PrivateRabbitmq, closed_port: int, web_port: int
) -> None:
    nothing = refusal(f"amqp://a:b@{LOOPBACK}:{closed_port}/", "amqp://a:b@nowhere.invalid/")
    assert f"Nothing answers at {LOOPBACK}:{closed_port}, where RABBITMQ_URL points" in str(nothing)
    assert "Nothing answers at nowhere.invalid:5672" in str(nothing)
    another = [refusal(f"amqp://a:b@{LOOPBACK}:{web_port}/"), refusal(f"amqps://a:b@{LOOPBACK}:{rabbitmq.amqp_port}/")]
    assert all("does not answer as RabbitMQ does" in str(each) for each in another)
    assert not any(each.is_final for each in (nothing, *another))
