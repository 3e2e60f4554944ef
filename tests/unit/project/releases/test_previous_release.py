"""deploy/previous-release names the latest release, with which this one has to run side by side."""

import re
import tomllib

from project.local.stack import ROOT
from tests.previous_release import git, named

RELEASES = re.compile(r"^## (?P<version>\S+).*\n(?P<changes>(?:(?!## ).*\n)*)", re.MULTILINE)


def test_it_is_the_changelog_s_latest_release() -> None:
    (unreleased, changes), latest, *_before = RELEASES.findall((ROOT / "CHANGELOG.md").read_text("utf-8"))
    version, _ = named()
    assert unreleased == "Unreleased"
    # The commit that cuts a release cannot name itself: the next one does.
    assert version == latest[0] or not changes.strip()


def test_its_commit_is_the_one_that_cut_it() -> None:
    version, commit = named()
    assert tomllib.loads(git("show", f"{commit}:pyproject.toml").decode())["project"]["version"] == version
    before, _ = (RELEASES.findall(git("show", f"{at}:CHANGELOG.md").decode()) for at in (f"{commit}~1", commit))
    assert version not in {found for found, _ in before}, "the commit before it had the release already"
