"""The code of docs/new-actor.md runs from the page, and does what the page says."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO

from project.local.stack import ROOT

MAX_LINES = 10
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/new-actor.md").read_text("utf-8"), re.DOTALL)
ACTORS = [block for block in BLOCKS if "@dramatiq.actor" in block]
TESTS = re.findall(r"^def (test_\w+)", "".join(BLOCKS), re.MULTILINE)


@pytest.fixture
def page(database: str) -> Iterator[dict[str, Any]]:
    """The names that the page's code defines; its actors are declared for one test."""
    broker = dramatiq.get_broker()
    actors, queues = dict(broker.actors), dict(broker.queues)
    broker.add_middleware(AsyncIO())
    namespace: dict[str, Any] = {"__name__": "new_actor"}
    exec("\n".join(BLOCKS), namespace)  # noqa: S102 – the page is ours
    yield namespace
    broker.middleware.pop()
    for table, before in ((broker.actors, actors), (broker.queues, queues)):
        table.clear()
        table.update(before)


def test_each_actor_takes_ten_lines_at_most() -> None:
    assert len(ACTORS) == 5
    assert TESTS
    assert all(len(block.splitlines()) <= MAX_LINES for block in ACTORS)


@pytest.mark.django_db
@pytest.mark.parametrize("name", TESTS)
def test_the_page_s_own_tests_pass(page: dict[str, Any], request: pytest.FixtureRequest, name: str) -> None:
    test: Callable[..., None] = page[name]
    test(**{fixture: request.getfixturevalue(fixture) for fixture in inspect.signature(test).parameters})
