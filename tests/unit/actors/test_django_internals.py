"""Django's insides, on which `django_internals` relies, are those that were read."""

import pytest

from tests.internals import fail_if_changed

WRITES = "use_database_to_write and versioning.VersionedQuerySet"
RESULTS = "forget_results and versioning.VersionedQuerySet.update"
INSERTS = "QuickInsertQuerySet._insert"
DELETIONS = "RefusingQuerySet and models.ActivityQuerySet"


@pytest.mark.parametrize(
    ("part", "digest", "use"),
    [
        ("django.db.models.query:QuerySet.update", "b5548a4c6dd9", RESULTS),
        ("django.db.models.query:QuerySet.bulk_create", "f822e0fc4c40", WRITES),
        ("django.db.models.query:QuerySet._raw_delete", "e878941754cb", DELETIONS),
        ("django.db.models.query:QuerySet._insert", "99e47ddb2867", INSERTS),
        ("django.db.models.deletion:Collector.delete", "6fc1aeb89d3d", DELETIONS),
    ],
)
def test_what_is_relied_on_has_not_changed(part: str, digest: str, use: str) -> None:
    fail_if_changed(part, digest, use, module="actors/django_internals.py")
