"""The lookup `finds` and the words of a search: the same on both databases, letter by letter."""

import unicodedata

import psycopg
import pytest
from django.contrib.auth.models import User

from actors.outbox.db.search import APOSTROPHES, fold, in_regular_expression, words_of
from project.local.servers.postgresql import PrivatePostgresql

LAST_ARMENIAN = 0x58F
"""Of the scripts with cases, those before it are Latin, Greek, Cyrillic and Armenian."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Non olish", ["non", "olish"]),
        ("non,olish , SUT", ["non", "olish", "sut"]),
        ("o'quv ta'lim", ["o'quv", "ta'lim"]),
        ("Oʻquv TA‘LIM", ["o'quv", "ta'lim"]),
        ("to'", ["to'"]),
        ('"Kitob o’qish" non', ["kitob o'qish", "non"]),
        ("'Kitob oʻqish' non", ["kitob o'qish", "non"]),
        ("‘Kitob’", ["kitob"]),
        ("'non olish", ["non", "olish"]),
        ('24" monitor', ["24", "monitor"]),
        ("non NON Non", ["non"]),
        *((nothing, []) for nothing in ("", " ", ",", '"', '""', "'", "''", "ʻ", "’ ‘", '" "', "', \"", "\t\n")),
    ],
)
def test_a_search_is_split_into_words_and_phrases(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_no_letter_grows_or_shrinks_when_folded() -> None:
    every = [chr(code) for code in range(0x110000)]

    assert [char for char in every if len(fold(char)) != 1] == []
    assert [char for char in every[0x20000:] if fold(char) != char] == []


@pytest.mark.django_db
@pytest.mark.usefixtures("database")
class TestFinds:
    def test_each_letter_is_found_by_those_it_differs_from_in_case_alone(self) -> None:
        letters = [char for char in map(chr, range(1, LAST_ARMENIAN)) if unicodedata.category(char) in {"Lu", "Ll"}]
        User.objects.bulk_create(User(username=char) for char in {*letters, *APOSTROPHES, "ẞ", "\u212a"})
        same: dict[str, set[str]] = {}
        for name in User.objects.values_list("username", flat=True):
            same.setdefault(fold(name), set()).add(name)
        assert (same["i"], same["k"], same["ß"]) == ({*"iIİ"}, {*"kK\u212a"}, {*"ßẞ"})
        assert (same["σ"], same["'"]) == ({*"σΣς"}, {*APOSTROPHES})

        for names in same.values():
            for word in names if len(names) < 5 else sorted(names)[:5]:
                assert set(User.objects.filter(username__finds=word).values_list("username", flat=True)) == names

    @pytest.mark.parametrize("char", [chr(code) for code in range(1, 128) if not chr(code).isalnum()])
    def test_no_sign_is_a_wildcard(self, char: str) -> None:
        User.objects.bulk_create(
            User(username=name) for name in (f"ab{char}{char}cd", "abbcd", "abxycd", "abcd", "b|d")
        )

        for word in (f"b{char}{char}c", f"{char}{char}", f"B{char}{char}C"):
            assert [user.username for user in User.objects.filter(username__finds=word)] == [f"ab{char}{char}cd"]

    @pytest.mark.parametrize(
        "word", ["(?i)b", "***=b", "***:b", "(?:b)", "[b]", "[^x]", "[a-c]", "b{1}", r"\x62", r"\y"]
    )
    def test_no_word_is_a_pattern(self, word: str) -> None:
        User.objects.bulk_create([User(username="abcd"), User(username=f"x{word}y".upper())])

        assert [user.username for user in User.objects.filter(username__finds=word)] == [f"x{word}y".upper()]

    def test_nothing_is_in_every_text(self) -> None:
        User.objects.create(username="abcd")

        assert User.objects.filter(username__finds="").count() == 1


@pytest.mark.integration
@pytest.mark.parametrize("locale", ["LOCALE 'C'", "LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C.UTF-8'"])
def test_the_locale_of_the_database_does_not_matter(postgresql: PrivatePostgresql, locale: str) -> None:
    found = {"ЯНГИ": "янги", "Oʻquv": "o'QUV", "İSTANBUL": "istanbul", "ΟΔΟΣ": "οδοσ", "ТАЪТИЛ": "таътил"}
    postgresql.drop_database("located")
    with psycopg.connect(postgresql.url(), autocommit=True) as server:
        server.execute(f"CREATE DATABASE located TEMPLATE template0 ENCODING 'UTF8' {locale}")

    with psycopg.connect(postgresql.url("located"), autocommit=True) as database:
        database.execute("CREATE EXTENSION pg_trgm")
        database.execute("CREATE TABLE texts AS SELECT unnest(%s::text[]) AS text", [list(found)])
        database.execute("CREATE INDEX ON texts USING gin (text gin_trgm_ops)")
        database.execute("SET enable_seqscan = off")
        for text, word in found.items():
            pattern = "".join(map(in_regular_expression, fold(word)))
            assert database.execute("SELECT text FROM texts WHERE text ~ %s", [pattern]).fetchall() == [(text,)]
