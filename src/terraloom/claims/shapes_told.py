"""Constructions of shape: "scattered trees", "a winding river", "one continuous patch"."""

from collections.abc import Iterator
from typing import Final

from terraloom.claims.line import NEXT_LIST, Found, Line, until_own
from terraloom.claims.symbols import Symbol

_VERBS: Final = {
    "scattered": "scattered", "dispersed": "scattered", "winds": "winding", "meanders": "winding",
}  # fmt: skip
_INTO: Final = frozenset(("in", "into", "as"))
"""Prepositions that lead to what the subject is like; "beside narrow strips" tells of others."""
_FORMS: Final = frozenset(
    form
    for noun in ("patch", "block", "area", "piece", "strip", "band", "belt", "feature", "fragment")
    for form in (noun, noun + ("es" if noun == "patch" else "s"))
)
"""Nouns that tell what a class is like: "forms one connected area", "in many patches"."""
_SHARED: Final = frozenset(("scattered", "winding", "patches", "strip"))
"""Shapes that an adjective gives to what stands behind "and" too: "winding roads and rivers"."""


def shapes(line: Line) -> Iterator[Found]:
    """Claims of shape in a sentence, one per class noun and shape."""
    for i, symbol in enumerate(line.symbols):
        told = symbol.shapes
        if symbol.char == "v" and symbol.words in _VERBS:
            told = ((_VERBS[symbol.words], symbol.start, symbol.end),)
        for value, start, end in told:
            for noun in _nouns_of(line, i, value):
                first, last = min(noun.start, start), max(noun.end, end)
                yield Found("shape", (noun,), value, i, first, last)


def _nouns_of(line: Line, at: int, value: str) -> list[Symbol]:
    """Class nouns that the word of shape at `at` is about."""
    string, symbol = line.string, line.symbols[at]
    match symbol.char:
        case "N":
            after = line.symbols[at + 2] if string[at + 1 : at + 3] == "&N" else None
            is_before = any(v == value and start < symbol.start for v, start, _ in symbol.shapes)
            if after is not None and after.bare and value in _SHARED and is_before:
                return [symbol, after]
            return [symbol]
        case "x":
            return _list_at(line, at + 1)
        case "v":
            if value == "winding":
                return line.subject(at)[-1:]
            if string[max(at - 1, 0)] in "vM-?~i":
                return line.subject(at) or _after_comma(line, at)
            return line.list_before(at, is_subject=False)[0] or _after_comma(line, at)
        case _:
            return (_after_comma(line, at) if symbol.shape_alone else []) or _subject(line, at)


def _list_at(line: Line, start: int) -> list[Symbol]:
    match = NEXT_LIST.match(line.string, start)
    return until_own(line.nouns(*match.span())) if match else []


def _after_comma(line: Line, at: int) -> list[Symbol]:
    """Class nouns of the phrase that goes on behind a comma: "a narrow, winding road"."""
    string, start = line.string, at + 1
    while start < len(string) and string[start] in ",&":
        start += 1
    if start == at + 1 or string[start : start + 1] not in ("N", "x"):
        return []
    following = line.symbols[start]
    if string[start] == "x":
        return _list_at(line, start + 1)
    return [] if following.own else [following]


def _subject(line: Line, at: int) -> list[Symbol]:
    """Class nouns of the subject that is like this: "occurs in scattered patches"."""
    string, symbol = line.string, line.symbols[at]
    if not symbol.shape_alone and symbol.words not in _FORMS:
        return []
    start, leads = at, False
    while start > 0:
        char = string[start - 1]
        if char == "i" and line.symbols[start - 1].words not in _INTO:
            return []
        # "Forming irregular, dry-looking patches": adjectives may stand between.
        if char not in "vimkM~-," and not (char == "O" and string[start] == ","):
            break
        leads = leads or char in "vi"
        start -= 1
    return line.subject(start) if leads else []
