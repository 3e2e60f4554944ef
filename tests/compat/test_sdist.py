"""The source distribution is the one that is pinned, and a download that fails says so in one sentence."""

import os
from pathlib import Path

import pytest

from tests.compat.sdist import SdistUnavailable, find_or_download

NAME = "dramatiq-0.0.1"


@pytest.fixture(autouse=True)
def no_such_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.compat.sdist.version", lambda name: "0.0.1")


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.tar.gz").write_bytes(b"another")
    with pytest.raises(SdistUnavailable, match=rf"{NAME}\.tar\.gz is not the file that .*runtime\.txt pins: remove it"):
        find_or_download(tmp_path)


def test_a_download_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SdistUnavailable, match=r"the sources of dramatiq==0\.0\.1: ERROR: No matching"):
        find_or_download(tmp_path)
