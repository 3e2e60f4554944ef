"""Fills the database of the service under test: two accounts, their tasks, and the log of these.

Run by `python -m`, with the service's environment.
"""

import django

PASSWORD = "a-password-for-tests"
ROLES = ("admin", "user")
TASKS = 12


def fill() -> None:
    from django.contrib.auth.models import User

    from actors.outbox.testing import InlineWorker
    from tasks.models import Task

    owners = [
        User.objects.create_superuser("admin", password=PASSWORD),
        User.objects.create_user("user", password=PASSWORD),
    ]
    for number in range(TASKS):
        Task.objects.create(owner=owners[number % len(owners)], title=f"Vazifa {number}", description="Oʻqish")
    InlineWorker().deliver_all()


if __name__ == "__main__":
    django.setup()
    fill()
