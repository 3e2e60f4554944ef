"""`manage.py outbox status|repair|cancel`: shows statistics, publishes lost messages again, cancels messages."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from functools import partial
from typing import Any

import dramatiq
from django.core.management.base import BaseCommand, CommandError
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.exceptions import ChannelClosedByBroker

from actors.outbox.amqp.outage import CANNOT_CONNECT, explain
from actors.outbox.amqp.pika_internals import TimeLimitedConnection
from actors.outbox.amqp.topology import count_ready, explain_refusal
from actors.outbox.maintenance.leadership import queues_to_watch
from actors.outbox.maintenance.lost_messages import repair_now
from actors.outbox.maintenance.upkeep import connect_to_broker
from actors.outbox.management import arguments
from actors.outbox.models import Operator, OutboxMessage
from actors.outbox.operations.cancel import cancel, why_not
from actors.outbox.operations.horizon import holders
from actors.outbox.operations.stats import Rate, collect, measure_rate

NO_REASON = "manage.py outbox cancel, without a reason"
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Command(BaseCommand):
    help = "Shows statistics, publishes lost messages again, cancels messages that are not published yet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        jobs = parser.add_subparsers(dest="job", required=True, metavar="status|repair|cancel")

        status = jobs.add_parser("status", help="messages by state, their ages and rate; what holds the horizon")
        status.add_argument(
            "--seconds", type=arguments.seconds, default=2.0, help="how long to measure the rate (2); 0: do not"
        )
        status.add_argument("--json", action="store_true", help="as JSON")

        repair = jobs.add_parser("repair", help="publish again at once the messages that RabbitMQ has lost")
        repair.add_argument("--queue", type=arguments.word, help="only this queue's; otherwise every queue's")

        cancelling = jobs.add_parser("cancel", help="delete messages that are not published yet; all conditions hold")
        cancelling.add_argument("ids", nargs="*", type=arguments.row_id, metavar="ID", help="ids of rows")
        cancelling.add_argument("--subject", type=arguments.word, help="such as task:1")
        cancelling.add_argument("--actor", type=arguments.word, help="the actor's name")
        cancelling.add_argument("--dedupe-key", type=arguments.word, help="the key that it was sent with")
        cancelling.add_argument("--why", type=arguments.word, default=NO_REASON, help="kept with the decision")
        cancelling.add_argument("--by", metavar="NAME", help="who decides (the user of the operating system)")

    def handle(self, *args: Any, job: str, **options: Any) -> None:
        {"status": self._status, "repair": self._repair, "cancel": self._cancel}[job](options)

    def _status(self, options: dict[str, Any]) -> None:
        stats = {**collect(), "horizon": [holder._asdict() for holder in holders()]}
        rate = measure_rate(options["seconds"]) if options["seconds"] else None
        if options["json"]:
            moving = rate and {"created_per_second": rate.created, "settled_per_second": rate.settled}
            self.stdout.write(json.dumps({**stats, "rate": moving}, indent=2))
        else:
            self.stdout.write("\n".join(_describe(stats, rate)))

    def _repair(self, options: dict[str, Any]) -> None:
        known, wanted = queues_to_watch(), options["queue"]
        if wanted and wanted not in known:
            raise CommandError(f"There is no queue {wanted!r}; there are: {', '.join(known)}.")
        try:
            connection = connect_to_broker(period_seconds=0)
        except CANNOT_CONNECT as error:
            raise CommandError(f"RabbitMQ does not answer{_address()}: {explain(error)}. Nothing was done.") from error
        try:
            for queue in [wanted] if wanted else known:
                self._repair_queue(connection, queue)
        except CANNOT_CONNECT as error:
            raise CommandError(f"The connection to RabbitMQ was lost: {explain(error)}. Run this again.") from error
        finally:
            connection.close_quickly()

    def _repair_queue(self, connection: TimeLimitedConnection, queue: str) -> None:
        try:
            count = repair_now(queue, look=partial(count_ready, connection))
        except ChannelClosedByBroker as error:
            self.stderr.write(f"{queue}: refused {explain_refusal(queue, error.reply_text)}")
            return
        if count is None:
            self.stdout.write(f"{queue}: is not empty, so its lost messages are unknown: nothing was done.")
        elif count:
            self.stdout.write(f"{queue}: {count} messages are published again; those that a worker has still run once.")
        else:
            self.stdout.write(f"{queue}: nothing is lost.")

    def _cancel(self, options: dict[str, Any]) -> None:
        names = ("subject", "actor", "dedupe_key")
        conditions = {name: options[name] for name in names if options[name] is not None}
        if options["ids"]:
            conditions["pk__in"] = options["ids"]
        if not conditions:
            raise CommandError("Say which: ids, --subject, --actor or --dedupe-key.")
        rows = OutboxMessage.objects.filter(**conditions)
        missing = set(options["ids"]) - set(rows.values_list("pk", flat=True))
        count = cancel(rows, by=Operator(name=options["by"] or arguments.os_user()), why=options["why"])
        self.stdout.write(f"Cancelled: {count}.")
        reasons = why_not(rows)
        if missing:
            reasons["there is none, or not with these conditions: settled, cancelled, or never sent"] = len(missing)
        if reasons:
            listed = "".join(f"\n{number:>8} {reason}" for reason, number in reasons.most_common())
            raise CommandError(f"Not cancelled: {reasons.total()}:{listed}")
        if not count:
            raise CommandError("No message is like that.")


def _describe(stats: dict[str, Any], rate: Rate | None) -> Iterable[str]:
    for state, row in stats["states"].items():
        age = "" if row["oldest_seconds"] is None else f"  oldest {duration(row['oldest_seconds'])}"
        yield f"{state:<10} {row['count']:>8}{age}"
    for reason, count in stats["dead"].items():
        yield f"  dead     {count:>8}  {reason}"
    yield f"{'leased':<10} {stats['leased']:>8}  by a relay that publishes them"
    yield f"{'held':<10} {stats['held']:>8}  by a worker whose effect is outside the database"
    for holder in stats["horizon"]:
        held = "" if holder["seconds"] is None else f" for {duration(holder['seconds'])}"
        yield f"{'horizon':<10} {holder['transactions']:>8}  transactions ago, held{held} by {holder['name']}"
    if rate is not None:
        yield f"{'rate':<10} {rate.created:>8.1f}  created a second, {rate.settled:.1f} settled a second"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as `2 h 5 min`."""
    left = int(seconds)
    for place, (size, unit) in enumerate(UNITS):
        if left >= size:
            rest, (lesser, name) = left % size, UNITS[min(place + 1, len(UNITS) - 1)]
            return f"{left // size} {unit} {rest // lesser} {name}" if rest // lesser else f"{left // size} {unit}"
    return "0 s"


def _address() -> str:
    broker = dramatiq.get_broker()
    addresses: Any = broker.parameters if isinstance(broker, RabbitmqBroker) else ()
    return f" at {', '.join(f'{each.host}:{each.port}' for each in addresses)}" if addresses else ""
