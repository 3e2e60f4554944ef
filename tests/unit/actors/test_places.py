"""A user takes no more than their places, and all users no more than there are."""

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from actors.rest.places import NoPlace, Place, Placed, Places, TooManyOfUser


@pytest.fixture
def places() -> Places:
    """Three places, two for each user."""
    return Places(total=lambda: 3, each=lambda: 2, full="full", own="own")


def test_a_user_has_so_many_places_and_leaves_the_others(places: Places) -> None:
    first, _second = places.take(1), places.take(1)
    with pytest.raises(TooManyOfUser, match="own"):
        places.take(1)
    other = places.take(2)
    with pytest.raises(NoPlace, match="full"):
        places.take(2)
    with pytest.raises(TooManyOfUser, match="own"):
        places.take(1)  # what they can change themselves comes first

    first.leave()
    first.leave()
    places.take(2)
    with pytest.raises(NoPlace):
        places.take(3)
    other.leave()
    places.take(3)


def test_no_place_is_taken_where_there_are_none() -> None:
    with pytest.raises(NoPlace):
        Places(total=lambda: 0, each=lambda: 0, full="full", own="own").take(1)


def test_a_response_that_cannot_be_made_gives_its_place_back_and_another_keeps_it(places: Places) -> None:
    with pytest.raises(ValueError, match="not made"), places.take(1):
        raise ValueError("not made")
    assert len(places._taken) == 0
    with places.take(1):
        pass
    assert places._taken == {1: 1}


def test_nothing_is_kept_of_users_who_have_left(places: Places) -> None:
    for user in range(100):
        places.take(user).leave()

    assert len(places._taken) == 0


def test_threads_take_no_more_places_than_there_are(places: Places) -> None:
    taken: list[Place] = []
    begin = threading.Barrier(20)

    def take(user: int) -> None:
        begin.wait()
        with suppress(NoPlace):
            taken.append(places.take(user))

    threads = [threading.Thread(target=take, args=(user,)) for user in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 3


@pytest.mark.parametrize("begins", [True, False])
def test_a_response_gives_its_place_back_though_it_never_began(begins: bool) -> None:
    left: list[str] = []

    def parts() -> Iterator[str]:
        try:
            yield "first"
            yield "second"
        finally:
            left.append("parts")

    placed = Placed(Place(lambda: left.append("place")), parts())
    if begins:
        assert next(iter(placed)) == "first"
    placed.close()
    placed.close()

    assert left == (["parts", "place"] if begins else ["place"])
