"""What PostgreSQL refuses at a login, before `make run` and workers start."""

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from actors.outbox.exceptions import AccessRefused
from project.local.servers.postgresql import PrivatePostgresql
from project.server_access import log_in_to_database
from tests.conftest import connected_to

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("address", "reason", "is_final"),
    [
        ({"USER": "nobody"}, 'FATAL: role "nobody" does not exist', True),
        ({"NAME": "nowhere"}, 'FATAL: database "nowhere" does not exist', True),
        ({"HOST": "nowhere.invalid"}, "nowhere.invalid", False),
        ({"PORT": "1"}, "Connection refused", False),
    ],
)
def test_what_is_refused_is_one_line_and_what_does_not_answer_may_come_yet(
    postgresql: PrivatePostgresql,
    django_db_blocker: DjangoDbBlocker,
    address: dict[str, str],
    reason: str,
    is_final: bool,
) -> None:
    with django_db_blocker.unblock(), connected_to(postgresql, "postgres"):
        log_in_to_database()
        connection.settings_dict |= address
        with pytest.raises(AccessRefused) as refused:
            log_in_to_database()
    text = str(refused.value)
    assert reason in text
    assert text.startswith(f"The database {address.get('NAME', 'postgres')} cannot be used: ")
    assert text.endswith(". Start it, or correct DATABASE_URL.")
    assert "\n" not in text
    assert refused.value.is_final == is_final
