"""What `manage.py up` refuses before it starts anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from project.local.stack import ROOT
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
        call_command("up")


def test_without_the_local_requirements_it_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['psutil'] = None;"
        "from django.core.management import execute_from_command_line as run; run(['manage.py', 'up'])"
    )
    own = {"DJANGO_SETTINGS_MODULE": "settings.development", "STATE_DIR": str(tmp_path), "ENV_FILE": os.devnull}
    command = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **own, "LOG_FILE": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 1
    assert command.stderr.startswith("CommandError: up needs a package that is not installed: psutil.")
    assert "requirements/local.txt" in command.stderr
    assert len(command.stderr.splitlines()) == 1
