"""The code of the previous release, from git's history."""

import re
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from project.local.stack import ROOT
from tests.conftest import skip_or_fail

NAMED_IN = ROOT / "deploy/previous-release"
NAME = re.compile(r"^(?P<version>\d+\.\d+\.\d+) (?P<commit>[0-9a-f]{40})$", re.MULTILINE)


def named() -> tuple[str, str]:
    """Return the version of the previous release, and the commit that cut it."""
    [(version, commit)] = NAME.findall(NAMED_IN.read_text("utf-8"))
    return version, commit


def git(*arguments: str) -> bytes:
    """Run git on this project's history and return what it prints.

    Skips the test where there is no git or no such commit; in CI the test fails.
    """
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        version, commit = named()
        skip_or_fail(
            f"the code of the previous release, {version}, is commit {commit} (deploy/previous-release), which git "
            f"does not find here: git fetch --unshallow brings the whole history ({error})"
        )


def extract(directory: Path) -> Path:
    """Write the previous release's files into a new directory, and return it."""
    _, commit = named()
    with tarfile.open(fileobj=BytesIO(git("archive", "--format=tar", commit))) as archive:
        archive.extractall(directory, filter="data")
    return directory
