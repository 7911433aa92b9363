"""Constructions of amount: "cover half of the scene", "grass (86 %)", "minimal"."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from terraloom.claims.line import ITEM, LIST, SHARED, Found, Line, until_own
from terraloom.claims.symbols import Symbol

_PAREN_AMOUNT: Final = re.compile(r"\(q\)")
_COVERS_AMOUNT: Final = re.compile(r"[,e]*(?:v?e)?c[eMTi]*(q)(?:[ik]?(q))?(?!fN)")
_IS_AT: Final = re.compile(r"v[mkO]?i(q)")
_AMOUNT_IS: Final = re.compile(rf"(q)f?[sR][OWip]*[vCce]+[vCTM~ie]*({SHARED})")
_AMOUNT_USED: Final = re.compile(rf"(?<![c(])(q)(?:v+[CTM]*|C)({SHARED})")
_AMOUNT_OF: Final = re.compile(rf"(q)f({SHARED})")
_AMOUNT_NOUN: Final = re.compile(r"(q)x*(N)")
_AMOUNT_ALONE: Final = re.compile(rf"(q),?({ITEM})$")
_GAPPED: Final = re.compile(r"[&,;]([NO])(q)")
_NOTHING_BUT: Final = re.compile(rf"X({LIST})")
_REST_IS: Final = re.compile(rf"R[vCc]+[MTCi]*({SHARED})")
_WHOLLY: Final = re.compile(rf"T[vCif]*({LIST})")
_SMALL_VALUES: Final = frozenset(("small part", "tiny part", "modest part"))
_SHARE_NOUNS: Final = frozenset(
    form
    for noun in ("part", "portion", "proportion", "share", "fraction", "amount", "percentage",
                 "percent", "majority", "bulk")
    for form in (noun, noun + "s")
)  # fmt: skip
_TIGHT_LIST: Final = re.compile(SHARED)
_IS_SMALL: Final = re.compile(r"(?:v+(?:i[Ov]?,?|[Ov],)?|(?<=N)i)[mk]$")
_AFTER_PREDICATE: Final = ("", ",", ";", "(", "i", "&", ")")


def quantities(line: Line) -> Iterator[Found]:
    """Claims of quantity in a sentence."""
    string = line.string
    if "q" in string:
        yield from _amounts(line)
    for match in _NOTHING_BUT.finditer(string):
        nouns = line.nouns(*match.span(1))
        yield line.found("quantity", nouns, line.value(match.start()), match.start())
    for match in _WHOLLY.finditer(string):
        nouns = line.nouns(*match.span(1))
        if line.is_of_scene(match.start()) and nouns:
            yield line.found("quantity", nouns, line.value(match.start()), match.start())
    for match in _REST_IS.finditer(string):
        nouns = line.nouns(*match.span(1))
        yield line.found("quantity", nouns, "most of the rest", match.start())
    yield from _smallness(line)


def _amounts(line: Line) -> Iterator[Found]:
    string = line.string
    used: set[int] = set()

    def amount(at: int, nouns: Sequence[Symbol]) -> Iterator[Found]:
        if at not in used and nouns:
            used.add(at)
            yield line.found("quantity", nouns, line.value(at), at)

    for match in _PAREN_AMOUNT.finditer(string):
        noun = line.nearest(match.start())
        if noun is not None:
            yield from amount(match.start() + 1, [noun])
    for match in _COVERS_AMOUNT.finditer(string):
        nouns = line.subject(match.start())
        is_each = "e" in match[0] and any(
            line.symbols[i].words == "each" for i in range(*match.span())
        )
        for group in (1, 2):
            if match[group]:
                at = match.start(group)
                if is_each:
                    for noun in nouns:
                        yield line.found("quantity", [noun], line.value(at), at)
                    used.add(at)
                else:
                    yield from amount(at, nouns)
    for match in _IS_AT.finditer(string):
        yield from amount(match.start(1), line.subject(match.start()))
    for pattern in (_AMOUNT_IS, _AMOUNT_USED):
        for match in pattern.finditer(string):
            yield from amount(match.start(1), line.nouns(*match.span(2)))
    for match in _AMOUNT_NOUN.finditer(string):
        at = match.start()
        is_part = line.value(at) == "about 50" and string[max(at - 1, 0)] in "qv,&;"
        if line.symbols[at].own or is_part:  # "half forest and half farmland"
            yield from amount(at, line.nouns(*match.span(2)))
    for match in _AMOUNT_OF.finditer(string):
        symbol = line.symbols[match.start()]
        nouns = line.nouns(*match.span(2))
        if symbol.value in _SMALL_VALUES and symbol.words in _SHARE_NOUNS:
            # "A small amount of trees and water": little of either.
            used.add(match.start())
            for noun in until_own(nouns):
                yield line.found("quantity", [noun], symbol.value, match.start())
        elif symbol.own or symbol.words in _SHARE_NOUNS:
            yield from amount(match.start(), nouns)
    for match in _GAPPED.finditer(string):
        yield from amount(match.start(2), line.nouns(*match.span(1)))
    for match in _AMOUNT_ALONE.finditer(string):
        yield from amount(match.start(1), line.nouns(*match.span(2)))


def _smallness(line: Line) -> Iterator[Found]:
    string = line.string
    for i, char in enumerate(string):
        if char not in "mk":
            continue
        nouns = _small_nouns(line, i)
        if not nouns and (match := _IS_SMALL.search(string, 0, i + 1)):
            after = string[i + 1 : i + 2]
            if after in _AFTER_PREDICATE or (after == "O" and line.symbols[i + 1].small):
                nouns = line.subject(match.start())
        for noun in nouns:
            yield line.found("quantity", [noun], line.value(i), i)


def _small_nouns(line: Line, at: int) -> list[Symbol]:
    """Class nouns that a word of smallness stands before, where it speaks of extent."""
    string = line.string
    measured = string[at] == "m"
    start = at + 1
    while start < len(string) and string[start] in ",xOqfki":
        symbol = line.symbols[start]
        if string[start] == "O" and (symbol.own or string[start + 1 : start + 2] in ("&", "|")):
            break
        if string[start] == "i" and not (measured and string[start - 1] == "O"):
            break
        measured = measured or (string[start] == "x" and symbol.value == "measured")
        measured = measured or (string[start] == "O" and symbol.small)
        start += 1
    match = _TIGHT_LIST.match(string, start)
    if not match:
        return []
    nouns = until_own(line.nouns(*match.span()))
    if not nouns:
        return []
    # "Minor barren zones", "small grass and barren areas": the measure follows.
    follows = nouns[0].small or (nouns[0].adjective and nouns[-1].small)
    return nouns if measured or follows else []
