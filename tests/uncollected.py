"""Objects that only the garbage collector frees."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(kind: type) -> Iterator[list[object]]:
    """Fill the list, at the end, with the instances of a kind that became unreachable inside without being freed."""
    found: list[object] = []
    gc.freeze()  # existing objects are not examined, which would take most of a second
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [garbage for garbage in gc.garbage if isinstance(garbage, kind)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()
