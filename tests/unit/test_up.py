"""What `manage.py up` refuses before it starts anything."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from project.management.commands import up


def test_it_is_not_for_production(settings: Settings) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="up is for development"):
        call_command("up")


def test_a_full_disk_is_one_clear_line(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.DEBUG = True
    monkeypatch.setattr(up, "VAR", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 1024 * 1024))
    with pytest.raises(CommandError, match=r"The disk is full: 5 MB are free for .*, 300 MB are needed"):
        call_command("up", port="8000")
