"""`manage.py activity verify`: is every version of every task logged exactly once?"""

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import localtime
from tqdm import tqdm

from actors.commit_order import count_out_of_order
from actors.outbox.management import arguments
from tasks import audit
from tasks.listing import count_ledger
from tasks.models import Task

SHOWN = 100
COUNTS = "The counts of tasks are wrong: tasks were loaded with triggers off. Run manage.py activity verify --repair."
OUT_OF_ORDER = (
    "The stream has %d events after younger ones: an earlier release wrote this log in two PostgreSQL clusters. "
    "Stop web and workers, and run manage.py migrate actors 0004 and manage.py migrate."
)


class Command(BaseCommand):
    help = "Proves that the activity log is complete."

    def add_arguments(self, parser: ArgumentParser) -> None:
        jobs = parser.add_subparsers(dest="job", required=True, metavar="verify")
        verify = jobs.add_parser(
            "verify", help="tasks, activity and outbox against each other; exits with 1 if it fails"
        )
        verify.add_argument("--task", type=arguments.row_id, metavar="N", help="only this task")
        verify.add_argument(
            "--repair", action="store_true", help="send missing events again, if they can be restored; recount tasks"
        )

    def handle(self, *args: Any, task: int | None, repair: bool, **options: Any) -> None:
        totals = audit.Totals()
        left = 0
        for finding, sent in self._findings(task, totals, repair=repair):
            if sent:
                self.stdout.write(f"task {finding.task_id}: sent again: {', '.join(map(str, sent))}")
            if finding:
                left += 1
                if left <= SHOWN:
                    self.stdout.write(f"{finding}{' – cannot be sent again' if repair and finding.missing else ''}")
        self.stdout.write(
            f"{totals.tasks} tasks, {totals.logged} versions logged, {totals.waiting} on their way, {totals.dead} dead."
        )
        problem = None if task else self._problem_of_database(repair=repair)
        if taken_over := audit.taken_over_at():
            self.stdout.write(
                "PostgreSQL has taken over from another server, whose last transaction here is of "
                f"{localtime(taken_over)}. What that server committed later, as it may with asynchronous replication, "
                "is lost."
            )
        if left:
            more = f", {SHOWN} of them shown" if left > SHOWN else ""
            hint = " Dead letters: manage.py deadletters." if totals.dead else ""
            raise CommandError(f"{left} tasks are not logged completely{more}.{hint}{f' {problem}' if problem else ''}")
        if problem:
            raise CommandError(problem)
        self.stdout.write(self.style.SUCCESS("Every version of every task is logged once, or is on its way."))

    def _problem_of_database(self, *, repair: bool) -> str | None:
        if not count_ledger.is_right():
            if not repair:
                return COUNTS
            count_ledger.recount()
            self.stdout.write("The counts of tasks were wrong, and are right now.")
        number = count_out_of_order()
        return OUT_OF_ORDER % number if number else None

    def _findings(
        self, task: int | None, totals: audit.Totals, *, repair: bool
    ) -> Iterable[tuple[audit.Finding, list[int]]]:
        # The bar is written to a terminal only, and removed at the end.
        with tqdm(total=Task.objects.count(), desc="verify", unit="task", disable=None, leave=False) as bar:
            for first, last in [(task, task)] if task else audit.ranges():
                suspects = audit.judge(first, last, totals)
                bar.update(totals.tasks - bar.n)
                for task_id in suspects:
                    if repair:
                        sent, finding = audit.repair(task_id)
                        yield finding, sent
                    else:
                        yield audit.examine(task_id), []
