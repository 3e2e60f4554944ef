"""Each delivery gets its ack or nack; one ack covers several only if every earlier one on the channel is answered."""

import random

import pytest

from actors.outbox.worker.acks import Ack, AckBuffer


def add_all(buffer: AckBuffer, *tags: int, is_ack: bool = True) -> None:
    for tag in tags:
        buffer.add(tag, is_ack=is_ack)


def test_deliveries_without_a_gap_are_acknowledged_at_once() -> None:
    buffer = AckBuffer()
    add_all(buffer, 2, 1, 3)
    assert buffer.take() == [Ack(3, is_ack=True, up_to=True)]


def test_an_unanswered_message_is_acknowledged_by_no_later_one() -> None:
    buffer = AckBuffer()
    add_all(buffer, 1, 2, 4, 5)
    assert buffer.take() == [Ack(2, is_ack=True, up_to=True), Ack(4, is_ack=True), Ack(5, is_ack=True)]
    add_all(buffer, 3)
    assert buffer.take() == [Ack(3, is_ack=True)]
    add_all(buffer, 6, 7)
    assert buffer.take() == [Ack(7, is_ack=True, up_to=True)]


def test_a_delivery_is_rejected_before_a_later_one_is_acknowledged() -> None:
    buffer = AckBuffer()
    add_all(buffer, 3, 1)
    add_all(buffer, 2, is_ack=False)
    assert buffer.take() == [Ack(2, is_ack=False), Ack(3, is_ack=True, up_to=True)]


def test_only_the_first_answer_calls_for_a_take() -> None:
    buffer = AckBuffer()
    assert [buffer.add(tag, is_ack=True) for tag in (1, 2)] == [True, False]
    buffer.take()
    assert buffer.add(3, is_ack=True)


def test_an_empty_buffer_sends_nothing() -> None:
    assert AckBuffer().take() == []


@pytest.mark.parametrize("seed", range(50))
def test_whatever_the_order_each_message_ends_as_was_said_and_never_before(seed: int) -> None:
    chance = random.Random(seed)
    buffer, said, ended = AckBuffer(), dict[int, bool](), dict[int, bool]()
    waiting = chance.sample(range(1, 101), 100)
    while waiting:
        for _ in range(min(chance.randint(1, 12), len(waiting))):
            tag = waiting.pop(0 if chance.random() < 0.9 else -1)
            said[tag] = chance.random() < 0.9
            buffer.add(tag, is_ack=said[tag])
        for answer in buffer.take():
            # In RabbitMQ a second answer to a delivery is an error that closes the channel.
            assert answer.tag not in ended
            last_tags = range(1, answer.tag + 1) if answer.up_to else [answer.tag]
            ended.update({tag: answer.is_ack for tag in last_tags if tag not in ended})
        assert ended == said
