"""Constructions of place: "water in the north", "the eastern half is mainly forest"."""

import re
from collections.abc import Iterator
from typing import Final

from terraloom.claims.line import LIST, Found, Line
from terraloom.claims.symbols import Symbol

_FILLS: Final = re.compile(
    rf"h(?:fs)?(?:[vce]+(?:M|T)?[vCiDf]*|[MT][vCiDf]*|D|(?<=[&,;]h)w)({LIST})"
)
_COVERS_PART: Final = re.compile(r"[vM]*c(?:M|T)?h")
_REDUCED: Final = frozenset(
    ("visible", "located", "situated", "found", "seen", "present", "running", "nestled",
     "arranged", "parked", "scattered", "built", "planted", "placed")
)  # fmt: skip
_PREVAILS_IN: Final = re.compile(r"Ep")
_IN_IT_PREVAILS: Final = re.compile(r"p,?([xO]*N)[vM]*E")
_SHAPES: Final = frozenset(
    ("block", "patch", "patches", "area", "areas", "strip", "band", "cluster", "clusters", "piece")
)
_OF_A_THING: Final = re.compile(r"pf[xO]*[NO]")
"""In the middle of the square: no place of the image."""


def places(line: Line) -> Iterator[Found]:
    """Claims of place in a sentence."""
    string = line.string
    if "h" in string:
        for match in _FILLS.finditer(string):
            region = line.value(match.start())
            nouns = line.nouns(*match.span(1))[:1]
            yield line.found("place", nouns, f"fills {region}", match.start())
        for match in re.finditer(r"Eh", string):
            nouns = line.subject(match.start())[:1]
            region = line.value(match.end() - 1)
            yield line.found("place", nouns, f"fills {region}", match.end() - 1)
        for match in _COVERS_PART.finditer(string):
            at = match.end() - 1
            for noun in line.subject(match.start()):
                yield line.found("place", [noun], line.value(at), at)
    if "p" not in string:
        return
    for match in _PREVAILS_IN.finditer(string):
        at = match.end() - 1
        nouns = line.subject(match.start())[:1]
        yield line.found("place", nouns, f"fills {line.value(at)}", at)
    for match in _IN_IT_PREVAILS.finditer(string):
        nouns = line.nouns(*match.span(1))[:1]
        yield line.found("place", nouns, f"fills {line.value(match.start())}", match.start())
    for i, char in enumerate(string):
        if (
            char != "p"
            or _OF_A_THING.match(string, i)
            or ((i and string[i - 1] == "E") or _IN_IT_PREVAILS.match(string, i))
        ):
            continue
        nouns = _placed(line, i)
        for noun in nouns:
            yield line.found("place", [noun], line.value(i), i)


def _placed(line: Line, at: int) -> list[Symbol]:
    """Class nouns that a place is told of."""
    string = line.string
    i = at - 1
    while i >= 0 and string[i] in "M~":
        i -= 1
    if line.symbols[at].own and i >= 0 and string[i] in ",&":
        return line.first_nouns(at)  # "one in the north"
    if string[i : i + 1] == "i" and line.symbols[i].words == "interspersed":
        return line.list_before(i)[0]
    if i < 0 or string[i] in ";" or (string[i] in ",&" and _begins_clause(line, at)):
        # "In the north, trees prevail"; "in the centre lies water".
        match = re.compile(r"p,?(?:v|w)*([xkmO]*N)").match(string, at)
        return line.nouns(*match.span(1)) if match else []
    if string[i] == "v" or string[i] in "a":
        verb = i
        while verb > 0 and string[verb - 1] in "vM":
            verb -= 1
        if verb > 0 and string[verb - 1] in "NO)":
            nouns, start = line.list_before(verb)
            reduced = string[i] == "v" and line.symbols[i].words in _REDUCED and (verb == i)
            return nouns[-1:] if reduced and string[max(start - 1, 0)] in "wia" else nouns
        return line.subject(verb)
    if string[i] == "O" and line.symbols[i].words in _SHAPES:
        return _subject_of_clause(line, at)  # "forms one patch in the south"
    if string[i] == "," and string[i - 1 : i] in ("s", "q"):
        return _subject_of_clause(line, at)  # "cover a third of it, mainly in the south"
    if string[i] in "NO)" or string[i] == ",":
        j = i
        while j >= 0 and string[j] in ",q()O":
            if string[j] == "O":
                return []
            j -= 1
        if j >= 0 and string[j] == "N":
            return [line.symbols[j]]
    if string[i] in "qsfce&":
        nouns = _subject_of_clause(line, at)
        return nouns
    if string[i] == "p":
        return _placed(line, i)
    return []


def _begins_clause(line: Line, at: int) -> bool:
    return re.compile(r"p,?v+[xkmO]*N").match(line.string, at) is not None


def _subject_of_clause(line: Line, at: int) -> list[Symbol]:
    """The class noun that the clause before `at` is about."""
    for i in range(at - 1, -1, -1):
        if line.string[i] in "cv" and i > 0:
            return line.subject(i)
        if line.string[i] == ";":
            break
    return []
