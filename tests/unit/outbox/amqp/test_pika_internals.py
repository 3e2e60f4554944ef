"""pika's private parts, on which `pika_internals` relies, are unchanged."""

import pytest

from tests.internals import fail_if_changed

CORKED = "CorkedConnection"
ABORT = "CorkedConnection.abort and TimeLimitedConnection"
CONSUMING = "ConsumingConnection"
OPEN = "open_consuming and TimeLimitedConnection"
UNFLUSHED = "unflushed, and OutboxConsumer._flush_acks"
LIMITED = "TimeLimitedConnection"


@pytest.mark.parametrize(
    ("part", "digest", "use"),
    [
        ("pika.connection:Connection._output_marshaled_frames", "856452592c11", CORKED),
        ("pika.adapters.base_connection:BaseConnection._adapter_emit_data", "57770a1b8a02", CORKED),
        ("pika.adapters.select_connection:SelectConnection._get_write_buffer_size", "2e3297ec99e3", CORKED),
        ("pika.connection:Connection._terminate_stream", "9b35860018c3", ABORT),
        ("pika.connection:Connection._has_pending_callbacks", "586e1de1585e", CONSUMING),
        ("pika.connection:Connection._process_callbacks", "ab2d39c4ba4f", CONSUMING),
        ("pika.adapters.blocking_connection:BlockingConnection.__init__", "daa2465833db", OPEN),
        ("pika.adapters.blocking_connection:BlockingConnection._create_connection", "77abdf443642", OPEN),
        ("pika.adapters.blocking_connection:BlockingChannel.__init__", "e00d833fcb04", UNFLUSHED),
        ("pika.adapters.blocking_connection:BlockingChannel.basic_ack", "0ac3a5bd166b", UNFLUSHED),
        ("pika.adapters.blocking_connection:BlockingChannel.basic_nack", "bdd4a41d5a9d", UNFLUSHED),
        ("pika.adapters.blocking_connection:BlockingConnection._flush_output", "5fae7068efae", LIMITED),
        ("pika.adapters.base_connection:BaseConnection._adapter_call_later", "0ee17f9ce543", LIMITED),
        ("pika.adapters.base_connection:BaseConnection._adapter_remove_timeout", "396a11ac0c72", LIMITED),
    ],
)
def test_what_is_relied_on_has_not_changed(part: str, digest: str, use: str) -> None:
    fail_if_changed(part, digest, use, module="actors/outbox/amqp/pika_internals.py")
