#!/usr/bin/env python
"""Django's command-line utility; with `settings.development` by default."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.development")
    try:
        from django.core.management import execute_from_command_line
        from django.db import OperationalError
    except ImportError as error:
        raise SystemExit(f"{error}. Run `make install`, then use .venv/bin/python manage.py ...") from error
    try:
        execute_from_command_line(sys.argv)
    except OperationalError:
        from actors.outbox.exceptions import AccessRefused
        from project.server_access import log_in_to_database

        try:
            log_in_to_database()
        except AccessRefused as refusal:  # else the error is a program's, and needs its traceback
            raise SystemExit(str(refusal)) from refusal
        raise


if __name__ == "__main__":
    main()
