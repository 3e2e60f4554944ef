"""Sends a message's follow-ups: the next message of its pipeline, and its callbacks.

Guarantee: follow-ups are sends, and so rows, in the transaction that settles, reschedules or gives up the message. They
exist if and only if it commits.
"""

from typing import Any

from dramatiq import Message

from actors.outbox.worker.delivery import Delivery


def has_follow_ups(delivery: Delivery) -> bool:
    """Return whether a message has follow-ups if it succeeds; most have none."""
    return bool(delivery.message.options.get("pipe_target") or delivery.option("on_success"))


def send_follow_ups(delivery: Delivery, result: Any) -> None:
    """Send the pipeline's next message, with the actor's result, and the success callback."""
    options, broker = delivery.message.options, delivery.broker
    if target := options.get("pipe_target"):
        following: Message[Any] = Message(**target)
        if not (following.options.get("pipe_ignore") or delivery.actor.options.get("pipe_ignore")):
            following = following.copy(args=(*following.args, result))
        broker.enqueue(following, delay=following.options.get("delay"))
    call_back(delivery, "on_success", result)


def call_back(delivery: Delivery, option: str, *arguments: Any) -> None:
    """Send the message and `arguments` to the actor that an option names, if it names one."""
    if name := delivery.option(option):
        delivery.broker.get_actor(name).send(delivery.message.asdict(), *arguments)
