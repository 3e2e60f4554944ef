"""A relay in a process of its own, which publishes every pending row: `bench.messages` starts it.

Prints `ready` when it is connected, waits for a line of input, and then prints how long it took, by the clock and of
the processor. The only module of bench that imports the service's own code.
"""

import json
import sys
import time

import django

DEADLINE_SECONDS = 120.0


def main() -> None:
    django.setup()
    # Models can be imported only now.
    from actors.outbox.relay.relay import Relay, ready_rows
    from actors.outbox.relay.thread import make_publisher

    publisher = make_publisher()
    relay = Relay(publisher=publisher)
    while not publisher.is_ready():
        publisher.run(1.0)
    ready_rows().exists()
    print("ready", flush=True)
    sys.stdin.readline()
    began, used = time.monotonic(), time.process_time()
    while (relay.step() or ready_rows().exists()) and time.monotonic() - began < DEADLINE_SECONDS:
        pass
    print(json.dumps({"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - used}), flush=True)
    publisher.close()


if __name__ == "__main__":
    main()
