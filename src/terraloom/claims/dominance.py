"""Constructions of dominance: "dominated by", "mostly forest", "the largest class"."""

import re
from collections.abc import Iterator
from typing import Final

from terraloom.claims.line import LIST, Found, Line

_DOMINATED: Final = re.compile(rf"D[MTi]*({LIST})")
_DOMINATES: Final = re.compile(r"[vM]*E")
_MAINLY: Final = re.compile(rf"M[vCcf]*({LIST})")
_PARTS: Final = frozenset(("area", "land", "ground", "surface", "map", "total", "whole"))
_COVERS_SCENE: Final = re.compile(r"c(?:O,?)*s")
_LARGEST_IS: Final = re.compile(rf"G(?:[fis]*)v({LIST})")
_IS_LARGEST: Final = re.compile(r"(?:[cv]+|c)[is]*[GZ]")
_NO_CLASS: Final = re.compile(r"Y(?:[xO]*)(N)")
_WITHIN_PLACE: Final = re.compile(r"i?[ph]")
_AFTER_PLACE: Final = re.compile(r"(?:^|;)p,?[xO]*N[vM]*E$")
_ADJECTIVES: Final = re.compile(r"(?:N[,&|]+)+N$")


def dominance(line: Line) -> Iterator[Found]:
    """Claims of dominance in a sentence; "the rest is mainly" is one of quantity."""
    string = line.string
    for match in _DOMINATED.finditer(string):
        if _subject_is_place(line, match.start()):
            continue
        nouns = line.nouns(*match.span(1))
        yield line.found("dominant", nouns, None, match.start())
    for match in _DOMINATES.finditer(string):
        if _WITHIN_PLACE.match(string, match.end()) or _AFTER_PLACE.search(string, 0, match.end()):
            continue  # dominates a half, not the whole
        nouns = line.subject(match.start())
        yield line.found("dominant", nouns, None, match.end() - 1)
    for match in _MAINLY.finditer(string):
        if line.is_of_scene(match.start()) and not _subject_is_place(line, match.start()):
            nouns = line.nouns(*match.span(1))
            value = line.symbols[match.start()].value
            if not _rest_before(line, match.start()):
                yield line.found("dominant", nouns, value, match.start())
    for match in _COVERS_SCENE.finditer(string):
        scene = line.symbols[match.end() - 1]
        if scene.words in _PARTS and not scene.definite:
            continue  # "covers a large area"
        yield line.found("dominant", line.subject(match.start()), None, match.start())
    for match in _LARGEST_IS.finditer(string):
        nouns = line.nouns(*match.span(1))
        value = line.symbols[match.start()].value
        yield line.found("dominant", nouns[:1], value, match.start())
    for match in _IS_LARGEST.finditer(string):
        at = match.end() - 1
        nouns = line.subject(match.start())
        yield line.found("dominant", nouns[:1], line.symbols[at].value, at)
    for match in _NO_CLASS.finditer(string):
        yield line.found("dominant", line.nouns(*match.span(1)), "largest", match.start())
    for i, symbol in enumerate(line.symbols):
        if symbol.char == "N" and symbol.whole:
            nouns = [symbol]
            before = _ADJECTIVES.search(string, 0, i + 1)
            if before:
                nouns = [
                    s for s in line.symbols[before.start() : i + 1]
                    if s.char == "N" and (s.adjective or s is symbol)
                ]  # fmt: skip
            yield line.found("dominant", nouns, None, i)


def _subject_is_place(line: Line, at: int) -> bool:
    i = at - 1
    while i >= 0 and line.string[i] in "vCcM~-?fs":
        i -= 1
    return i >= 0 and line.string[i] == "h"


def _rest_before(line: Line, at: int) -> bool:
    i = at - 1
    while i >= 0 and line.string[i] in "vCc~":
        i -= 1
    return i >= 0 and line.string[i] == "R"
