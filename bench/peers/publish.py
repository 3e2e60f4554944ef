"""Fills a queue before its workers start: `python -m bench.peers.publish FIRST LAST`."""

import sys

import django

import bench.peers.celery  # noqa: F401


def main() -> None:
    django.setup()
    from bench.peers.sending import sender

    send = sender()
    first, last = map(int, sys.argv[1:])
    for number in range(first, last + 1):
        send(number, f"Vazifa {number}", "user1")


if __name__ == "__main__":
    main()
