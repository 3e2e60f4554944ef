"""Programs are found in the layouts of packages, and only where all of them are there."""

import subprocess
from pathlib import Path

import pytest

from project.local.servers import debian, postgresql_installation, rabbitmq_installation
from project.local.servers.debian import PackageTree
from project.local.servers.errors import ServerUnavailable
from project.local.servers.rabbitmq_installation import make_relocatable


def touch(tree: Path, *names: str) -> None:
    for name in names:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)


def unpacked_rabbitmq(tree: Path) -> None:
    scripts = ("rabbitmq-server", "rabbitmqctl", "rabbitmq-env")
    touch(
        tree, *(f"usr/lib/rabbitmq/bin/{name}" for name in scripts), "usr/lib/erlang/bin/erl", "usr/lib/erlang/bin/epmd"
    )


def test_an_unpacked_rabbitmq_is_found_by_its_real_script(tmp_path: Path) -> None:
    unpacked_rabbitmq(tmp_path)

    found = rabbitmq_installation.find_installation(tmp_path)

    assert found
    assert found.server == tmp_path / "usr/lib/rabbitmq/bin/rabbitmq-server"
    assert found.environment["PATH"].startswith(f"{tmp_path}/usr/lib/erlang/bin:")


def test_unpacked_libraries_are_made_known_to_the_linker(tmp_path: Path) -> None:
    unpacked_rabbitmq(tmp_path)
    touch(tmp_path, "usr/lib/x86_64-linux-gnu/libsctp.so.1")

    found = rabbitmq_installation.find_installation(tmp_path)

    assert found
    assert found.environment["LD_LIBRARY_PATH"] == f"{tmp_path}/usr/lib/x86_64-linux-gnu"


def test_an_incomplete_rabbitmq_is_not_taken_for_one(tmp_path: Path) -> None:
    unpacked_rabbitmq(tmp_path)
    (tmp_path / "usr/lib/rabbitmq/bin/rabbitmqctl").unlink()

    assert rabbitmq_installation.find_installation(tmp_path) is None


def test_a_rabbitmq_that_cannot_be_had_names_every_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_installation, "find_installation", lambda *root: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerUnavailable) as caught:
        rabbitmq_installation.find_or_fetch(tmp_path / "cache", lambda line: None)

    message = str(caught.value)
    assert all(way in message for way in ("docker compose up", "brew install rabbitmq", "RABBITMQ_URL", "apt-get"))
    assert "\n" not in message


def test_a_damaged_tree_is_not_fetched_again_but_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_installation, "find_installation", lambda *root: None)
    tree = tmp_path / f"rabbitmq-{debian.host_tag()}"
    tree.mkdir()

    with pytest.raises(ServerUnavailable, match=f"^RabbitMQ: {tree} is incomplete; delete it"):
        rabbitmq_installation.find_or_fetch(tmp_path, lambda line: None)


def test_a_cache_whose_path_has_a_space_is_replaced_by_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert rabbitmq_installation._space_free(Path("/some where/cache")) == tmp_path / "vazifa"


def test_of_several_postgresqls_the_newest_is_taken(tmp_path: Path) -> None:
    for version in (9, 15, 13):
        touch(tmp_path, f"usr/lib/postgresql/{version}/bin/initdb", f"usr/lib/postgresql/{version}/bin/postgres")

    found = postgresql_installation.find_installation(tmp_path)

    assert found
    assert found.bin == tmp_path / "usr/lib/postgresql/15/bin"


def test_a_postgresql_client_alone_is_no_server(tmp_path: Path) -> None:
    touch(tmp_path, "usr/lib/postgresql/15/bin/psql")

    assert postgresql_installation.find_installation(tmp_path) is None


def test_a_tree_that_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_apt_get", None)
    lines: list[str] = []

    assert PackageTree(title="Nothing", packages=["nothing"], path=tmp_path).fetch(lines.append) == tmp_path
    assert lines == []


def test_erlangs_scripts_find_their_root_wherever_they_lie(tmp_path: Path) -> None:
    erl = tmp_path / "usr/lib/erlang/bin/erl"
    touch(tmp_path, "usr/lib/erlang/bin/erl")
    erl.write_text('#!/bin/sh\nif true; then\n    ROOTDIR=/usr/lib/erlang\nfi\necho "$ROOTDIR"\n')
    make_relocatable(tmp_path)
    moved = tmp_path / "else where"
    (tmp_path / "usr").rename(moved)

    script = moved / "lib/erlang/bin/erl"

    assert "ROOTDIR=/usr/lib/erlang" not in script.read_text()
    assert run(script) == str(moved / "lib/erlang")


def run(script: Path) -> str:
    return subprocess.run([script], capture_output=True, text=True, check=True).stdout.strip()
