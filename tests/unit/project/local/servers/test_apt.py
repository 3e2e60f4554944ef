"""apt's own words are turned into one line."""

from project.local.servers.apt import _follower, last_error, network_trouble

OFFLINE = [
    "Err:1 http://archive.example stable InRelease",
    "  Temporary failure resolving 'archive.example'",
    "Reading package lists...",
    "W: Failed to fetch http://archive.example/dists/stable/InRelease  Temporary failure resolving 'archive.example'",
    "E: Unable to locate package rabbitmq-server",
]


def test_an_archive_out_of_reach_is_explained_by_apts_reason() -> None:
    assert network_trouble(OFFLINE) == "Temporary failure resolving 'archive.example'"


def test_an_unknown_package_is_no_network_trouble() -> None:
    assert network_trouble(["Reading package lists...", "E: Unable to locate package nonsense"]) is None


def test_the_last_error_is_the_one_that_counts() -> None:
    assert last_error(["E: first", "E: second", "Done"]) == "second"


def test_without_an_error_the_last_line_is_given() -> None:
    assert last_error(["Reading", "Killed", ""]) == "Killed"


def test_silence_is_called_so() -> None:
    assert last_error([]) == "it gives no reason"


def test_each_fetched_package_is_counted_against_the_plan() -> None:
    steps: list[tuple[int, int, str]] = []
    follow = _follower(lambda number, total, name: steps.append((number, total, name)))

    for line in [
        "1 upgraded, 2 newly installed, 0 to remove and 136 not upgraded.",
        "Get:1 http://archive.example stable/main amd64 erlang-ssl amd64 1:25.2.3 [1606 kB]",
        "Fetched 35.0 MB in 0s (214 MB/s)",
        "Get:2 http://archive.example stable/main amd64 rabbitmq-server all 3.10.8 [14.9 MB]",
    ]:
        follow(line)

    assert steps == [(1, 3, "erlang-ssl"), (2, 3, "rabbitmq-server")]
