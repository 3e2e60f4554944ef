"""Searches for text: what a word is, and the lookup `finds`, which means the same on PostgreSQL and on SQLite.

Guarantee: a field that `finds` a word has it in any case, by Unicode's cases of single letters, and with any of the
characters that are typed as an apostrophe, in any locale of the database. Nothing in a word is a wildcard. Both
databases get the letters' alternatives in the pattern, `[oO]['ʻʼ‘’…][qQ]`, so neither needs to know any letter's case,
and PostgreSQL's index of trigrams has the texts as they are.
"""

import re
from functools import cache
from typing import Any

from django.db.models import CharField, Lookup, TextField

MAX_SEARCH_LENGTH = 200  # characters: the longest title
MAX_WORDS = 5
"""Each is looked for in each text: a search costs as many times more. A phrase is one word."""
MIN_LENGTH = 3
"""Letters and digits of the longest word: PostgreSQL's index is of trigrams, and is no use to two letters."""

# Typed for Uzbek's oʻ, gʻ and tutuq belgisi, by keyboards and word processors:
# U+0027 ' U+0060 ` U+00B4 ´ U+02B9 ʹ U+02BB ʻ U+02BC ʼ U+02BD ʽ U+02BE ʾ U+02BF ʿ U+02C8 ˈ U+02CA ˊ U+02CB ˋ
# U+2018 ‘ U+2019 ’ U+201A ‚ U+201B ‛ U+2032 ′ U+2035 ‵ U+A78B Ꞌ U+A78C ꞌ U+FF07 ＇
APOSTROPHES = "'`´ʹʻʼʽʾʿˈˊˋ‘’‚‛′‵Ꞌꞌ＇"
# Sigma and İ are the only letters whose lower case depends on their place, or has two characters.
SAME = str.maketrans(f"{APOSTROPHES}Σςİ", "'" * len(APOSTROPHES) + "σσi")
# Within quotation marks a phrase; between apostrophes too, if one begins a word and another ends one.
WORD = re.compile(r"""\"([^"]*)"|'([^"]*?)'(?![^\s,])|[^\s,"]+""")
LONG_ENOUGH = re.compile(rf"[\w']{{{MIN_LENGTH}}}")  # with apostrophes: oʻ and gʻ are letters
CASED = range(0x20000)
"""The code points among which all letters with cases are."""


def words_of(text: str) -> list[str]:
    """Split what a person searches for into words, separated by spaces or commas, and phrases in quotation marks.

    Returns:
        Each word once, folded; none if the text has nothing else than spaces, commas, quotation marks and apostrophes.
    """
    found = (match[match.lastindex or 0].lstrip("'") for match in WORD.finditer(fold(text)))
    return list(dict.fromkeys(word for word in found if word.strip(", ")))


def is_long_enough(words: list[str]) -> bool:
    """Return whether at least one of a search's folded words has `MIN_LENGTH` letters or digits in succession."""
    return any(map(LONG_ENOUGH.search, words))


def fold(text: str) -> str:
    """Return a text, of the same length, in which letters that differ in case alone, and all apostrophes, are equal."""
    return text.translate(SAME).lower()


@CharField.register_lookup
@TextField.register_lookup
class Finds(Lookup[str]):
    """Whether a field contains a text, by `fold`."""

    lookup_name = "finds"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        field, parameters = self.process_lhs(compiler, connection)
        word = fold(str(self.rhs))
        if connection.vendor == "postgresql":
            return f"{field} ~ %s", (*parameters, "".join(map(in_regular_expression, word)))
        # SQLite looks for one first character ten times as fast as for one of several.
        others = "".join(map(_in_glob, word[1:]))
        globs = [f"*{_in_glob(first, first)}{others}*" for first in _alternatives().get(word[:1]) or [word[:1]]]
        either = " OR ".join(f"{field} GLOB %s" for _each in globs)
        return f"({either})", tuple(value for glob in globs for value in (*parameters, glob))


def in_regular_expression(char: str) -> str:
    """Return what matches a folded character, in PostgreSQL's regular expressions."""
    same = _alternatives().get(char)
    return f"[{same}]" if same else re.escape(char)


def _in_glob(char: str, same: str | None = None) -> str:
    same = same or _alternatives().get(char, char)
    return f"[{same}]" if len(same) > 1 or same in {*"*?["} else same


@cache
def _alternatives() -> dict[str, str]:
    """Return the characters that are folded to each folded character, if there are several; it is among them."""
    every, found = "".join(map(chr, CASED)), dict[str, str]()
    for char, folded in zip(every, fold(every), strict=True):
        if char != folded:
            found[folded] = found.get(folded, folded) + char
    return found
