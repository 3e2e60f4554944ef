"""apt's output becomes one line, and packages are unpacked as one tree or not at all."""

import stat
from pathlib import Path

import pytest

from project.local.servers.debian import PackageTree, failure
from project.local.servers.errors import ServerUnavailable

OFFLINE = [
    "Err:1 http://archive.example stable InRelease",
    "  Temporary failure resolving 'archive.example'",
    "Reading package lists...",
    "W: Failed to fetch http://archive.example/dists/stable/InRelease  Temporary failure resolving 'archive.example'",
    "E: Unable to locate package rabbitmq-server",
]
# What apt-get writes, and the archives that it leaves.
APT_GET = """\
#!/bin/sh
[ "$3" = install ] || exit 0
echo "1 upgraded, 1 newly installed, 0 to remove and 136 not upgraded."
archives=$(sed -n 's/^Dir::Cache "\\(.*\\)";/\\1/p' "$2")/archives
for package in erlang-ssl rabbitmq-server; do
  echo "Get:1 http://archive.example stable/main amd64 $package amd64 1:25.2.3 [1606 kB]"
  touch $archives/${package}_1.deb
done
echo "Fetched 35.0 MB in 0s (214 MB/s)"
"""
DPKG = '#!/bin/sh\nbasename "$2" >>"$3/unpacked"\n'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageTree:
    """A tree to fetch, with fake apt-get and dpkg."""
    for name, script in (("apt-get", APT_GET), ("dpkg", DPKG)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}", prepend=":")
    return PackageTree(title="RabbitMQ", packages=["rabbitmq-server"], path=tmp_path / "cache" / "tree")


def test_an_archive_out_of_reach_is_explained_by_apts_reason() -> None:
    assert failure(OFFLINE).endswith("InRelease  Temporary failure resolving 'archive.example'")
    assert failure(OFFLINE).startswith("Failed to fetch")


def test_an_unknown_package_is_no_network_trouble() -> None:
    assert failure(["Reading package lists...", "E: Unable to locate package nonsense"]) == (
        "Unable to locate package nonsense"
    )


def test_the_last_error_is_the_one_that_counts() -> None:
    assert failure(["E: first", "E: second", "Done"]) == "second"


def test_without_an_error_the_last_line_is_given() -> None:
    assert failure(["Reading", "Killed", ""]) == "Killed"


def test_silence_is_called_so() -> None:
    assert failure([]) == "it gives no reason"


def test_each_fetched_package_is_counted_against_the_plan(tree: PackageTree) -> None:
    steps: list[str] = []

    assert tree.fetch(steps.append) == tree.path

    assert (tree.path / "unpacked").read_text().split() == ["erlang-ssl_1.deb", "rabbitmq-server_1.deb"]
    assert steps == [
        "RabbitMQ: reading the Debian package lists",
        "RabbitMQ: fetching 1/2 erlang-ssl",
        "RabbitMQ: fetching 2/2 rabbitmq-server",
        "RabbitMQ: unpacking 1/2 erlang-ssl",
        "RabbitMQ: unpacking 2/2 rabbitmq-server",
    ]


def test_what_cannot_be_fetched_leaves_no_tree_and_says_why(tree: PackageTree, tmp_path: Path) -> None:
    (tmp_path / "bin/apt-get").write_text('#!/bin/sh\necho "E: Unable to locate package nonsense"\nexit 100\n')

    with pytest.raises(ServerUnavailable, match=r"^RabbitMQ: it cannot be fetched .* \(Unable to locate package"):
        tree.fetch(lambda line: None)

    assert [path for path in tree.path.parent.iterdir() if path.is_dir()] == []


def test_what_cannot_be_unpacked_leaves_no_tree_and_says_why(tree: PackageTree, tmp_path: Path) -> None:
    (tmp_path / "bin/dpkg").write_text("#!/bin/sh\necho 'dpkg: no space' >&2\nexit 2\n")

    with pytest.raises(ServerUnavailable, match=r"cannot be fetched into .* \(dpkg: no space\)"):
        tree.fetch(lambda line: None)

    assert [path for path in tree.path.parent.iterdir() if path.is_dir()] == []
