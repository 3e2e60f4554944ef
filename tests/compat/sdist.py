"""Dramatiq's own tests, from the source distribution of the release that is installed.

Nothing of it is in this repository: pip downloads it once, into a cache.
Guarantee: it is the file whose hash requirements/runtime.txt names beside the package's.
"""

import hashlib
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from project.local.stack import ROOT

PIP_TIMEOUT_SECONDS = 120


class SdistUnavailable(Exception):
    """Raised when the source distribution can be neither found nor downloaded."""


def find_or_download(cache: Path) -> Path:
    """Return the source distribution, downloaded into `cache` if it is not there.

    Raises:
        SdistUnavailable: pip cannot download it, or it is another file than the one that is pinned.
    """
    name = f"dramatiq-{version('dramatiq')}"
    sdist = cache / f"{name}.tar.gz"
    if not sdist.exists():
        _download(name.replace("-", "=="), cache)
    if not sdist.exists():
        raise SdistUnavailable(f"pip downloaded no {sdist.name} into {cache}.")
    if (
        f"sha256:{hashlib.sha256(sdist.read_bytes()).hexdigest()}"
        not in (ROOT / "requirements/runtime.txt").read_text()
    ):
        raise SdistUnavailable(f"{sdist} is not the file that requirements/runtime.txt pins: remove it.")
    return sdist


def unpack_tests(sdist: Path, directory: Path) -> None:
    """Unpack the modules of tests into `directory`."""
    directory.mkdir(parents=True)
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            if member.isfile() and path.parent.name == "tests" and path.suffix == ".py":
                member.name = path.name
                archive.extract(member, directory, filter="data")


def _download(requirement: str, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-binary", ":all:", "--dest", str(cache)]
    try:
        subprocess.run(
            [*command, *options, requirement], check=True, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SdistUnavailable(f"pip did not download {requirement} in {PIP_TIMEOUT_SECONDS} s.") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SdistUnavailable(f"pip cannot download the sources of {requirement}: {reason}") from error
