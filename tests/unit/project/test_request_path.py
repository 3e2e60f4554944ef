"""The way of a request through this service's files stays short enough to be walked."""

import sys
from pathlib import Path
from types import FrameType

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.tokens import bearer

ROOT = Path(__file__).resolve().parents[3]
OWN = tuple(str(ROOT / folder) + "/" for folder in ("actors", "project", "tasks"))
# What only the broker of tests passes through.
OF_TESTS = tuple(str(ROOT / "actors" / "outbox" / path) for path in ("testing/", "db/transactions.py"))
MAX_FILES = 29


@pytest.mark.django_db
def test_a_create_passes_few_files(user1: User) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user1))
    assert client.post("/tasks/", {"title": "Bir"}).status_code == 201  # which imports and builds all that stays
    files = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(OWN) and not file.startswith(OF_TESTS):
            files.add(file)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        answer = client.post("/tasks/", {"title": "Ikki"})
    finally:
        sys.setprofile(before)

    assert answer.status_code == 201
    assert str(ROOT / "tasks" / "signals.py") in files
    assert len(files) <= MAX_FILES, sorted(files)
