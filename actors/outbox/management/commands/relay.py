"""`manage.py relay`: relay and upkeep in a separate process, where web and worker processes do not run them."""

import signal
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from actors.outbox.db import session
from actors.outbox.maintenance.upkeep import make_upkeep_thread
from actors.outbox.management import arguments
from actors.outbox.models import OutboxMessage, State
from actors.outbox.relay.thread import RelayThread


class Command(BaseCommand):
    help = "Publishes the outbox's messages to RabbitMQ until it is stopped; with --once, until nothing is due."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="publish the messages that are due, and exit")
        parser.add_argument("--timeout", type=arguments.seconds, default=60.0, help="seconds that --once may take (60)")

    def handle(self, *args: Any, once: bool, timeout: float, **options: Any) -> None:
        session.report()
        thread = RelayThread()
        upkeep = make_upkeep_thread()

        def stop(number: int, frame: FrameType | None) -> None:
            thread.request_stop()
            upkeep.request_stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        if not once:
            self.stdout.write("Carrying messages to RabbitMQ until stopped.")
            upkeep.start()
            thread.run()
            upkeep.stop()
            self.stdout.write("Stopped.")
            return
        left = thread.drain(timeout)
        if left:
            raise CommandError(f"Still due: {left}. RabbitMQ did not take everything within {timeout:g} s.")
        counts = dict(OutboxMessage.objects.values_list("state").annotate(Count("pk")))
        self.stdout.write("Nothing is due. " + ", ".join(f"{state}: {counts.get(state, 0)}" for state in State) + ".")
