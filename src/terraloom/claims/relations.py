"""Constructions between classes: "near a river", "more than", "followed by"."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from terraloom.claims.dominance import dominance
from terraloom.claims.line import LIST, NEXT_LIST, Found, Line
from terraloom.claims.symbols import Symbol

_MORE: Final = re.compile(r"g(?:[OfisetqxR]*)H(?:i?)([xO]*N)")
_OUTNUMBER: Final = re.compile(rf">({LIST})")
_EQUAL: Final = re.compile(r"[cv]*e?=")
_AS_MUCH: Final = re.compile(r"U(N)i(N)")
_FOLLOWED: Final = re.compile(rf"F({LIST}|N(?:[&,]N)*)")
_MORE_OF: Final = re.compile(r"g(N)H([xO]*N)")
_EVEN_LESS: Final = re.compile(r"[mg](N)[&,;](g)(N)")
_THIRD: Final = re.compile(r"[&,](N)O")
_REDUCED: Final = frozenset(
    ("visible", "located", "situated", "found", "seen", "present", "running", "nestled",
     "arranged", "parked", "scattered", "built", "planted", "placed")
)  # fmt: skip


def comparisons(line: Line) -> Iterator[Found]:
    """Claims of comparison in a sentence."""
    string = line.string
    for match in _MORE.finditer(string):
        subjects = _subject_of_more(line, match.start())
        others = line.nouns(*match.span(1))
        if subjects and others:
            pair = [subjects[0], others[0]]
            if line.symbols[match.start()].value == "less":
                pair.reverse()
            yield line.found("comparison", pair, "more", match.start())
    for match in _MORE_OF.finditer(string):
        first, second = line.nouns(*match.span(1)), line.nouns(*match.span(2))
        if line.symbols[match.start()].value == "more" and first and second:
            yield line.found("comparison", [first[0], second[0]], "more", match.start())
    for match in _EVEN_LESS.finditer(string):
        first, second = line.nouns(*match.span(1)), line.nouns(*match.span(3))
        pair = [first[0], second[0]]
        if line.symbols[match.start(2)].value == "more":
            pair.reverse()
        yield line.found("comparison", pair, "more", match.start(2))
    for match in _OUTNUMBER.finditer(string):
        subjects, others = line.subject(match.start()), line.nouns(*match.span(1))
        if string[max(match.start() - 1, 0)] in ",2":
            subjects = _nearest_list(line, match.start())
        if subjects and others:
            yield line.found("comparison", [subjects[0], others[0]], "more", match.start())
    for match in _EQUAL.finditer(string):
        nouns = line.subject(match.start())
        if len(nouns) == 2:
            yield line.found("comparison", nouns, "equal", match.end() - 1)
    for match in _AS_MUCH.finditer(string):
        nouns = [line.symbols[match.start(1)], line.symbols[match.start(2)]]
        yield line.found("comparison", nouns, "equal", match.start())
    for match in _FOLLOWED.finditer(string):
        first = _first_of_rank(line, match.start())
        chain = [*first[:1], *line.nouns(*match.span(1))]
        for one, other in pairwise(chain):
            yield line.found("comparison", [one, other], "more", match.start())
    for i, char in enumerate(string):
        if char == "2":
            seconds = line.subject(i)
            first = _first_of_rank(line, line.index(seconds[0])) if seconds else []
            if first and seconds:
                yield line.found("comparison", [first[0], seconds[0]], "more", i)
                third = _THIRD.match(string, i + 1)
                if third and line.symbols[third.end() - 1].words == "third":
                    yield line.found(
                        "comparison", [first[0], line.symbols[third.start(1)]], "more", i
                    )


def _nearest_list(line: Line, end: int) -> list[Symbol]:
    noun = line.nearest(end)
    return [noun] if noun is not None else []


def _subject_of_more(line: Line, at: int) -> list[Symbol]:
    i = at
    while i > 0 and line.string[i - 1] in "vc-":
        i -= 1
    if i < at or (i > 0 and line.string[i - 1] in "NO"):
        found = line.subject(at)
        if found:
            return found
    # "…, yet smaller than": of the same subject as before.
    return line.first_nouns(at)


def _first_of_rank(line: Line, end: int) -> list[Symbol]:
    """The class that the sentence calls dominant or largest first, before `end`."""
    for found in dominance(line):
        if all(line.index(noun) < end for noun in found.nouns) and found.nouns:
            return list(found.nouns)
    return line.first_nouns(end)


def adjacencies(line: Line) -> Iterator[Found]:
    """Claims of adjacency in a sentence, of two nouns each, which may be of one class."""
    string = line.string
    for i, char in enumerate(string):
        if char not in "abA":
            continue
        if char == "b" and string[i + 1 : i + 2] in ("v", "f", ""):
            continue
        value = "mainly" if char == "A" else None
        rights, end = _neighbours_after(line, i)
        lefts = _neighbours_before(line, i)
        word = line.symbols[i].words
        if word == "between" and len(rights) == 2:
            yield line.found("adjacency", rights, value, i)
        if end == i + 1 and char == "a":  # nothing follows: "while a road beside"
            rights = [n for n in line.first_nouns(i) if n not in lefts]
        for left in lefts:
            for right in rights:
                if left.label != right.label:
                    yield line.found("adjacency", [left, right], value, i)


def _neighbours_after(line: Line, at: int) -> tuple[list[Symbol], int]:
    """Class nouns that a word of nearness leads to, and where they end."""
    string = line.string
    start = at + 1
    while start < len(string) and string[start] in "Mi":
        start += 1
    if string[start : start + 1] == "t":
        return _antecedent(line, at), start + 1
    # "Surrounded by a mix of forest": a measure may stand before; a list ends at a verb.
    match = NEXT_LIST.match(string, start)
    if match is None:
        return [], at + 1 if start >= len(string) or string[start] in ",;.&w)v" else at + 2
    end = match.end()
    # "…, and buildings are near": a member that starts a clause of its own is none.
    while string[end : end + 1] in ("v", "c", "E", "b", "D") and ("," in match[0]):
        cut = max(string.rfind(mark, start, end) for mark in ",&|")
        if cut <= start:
            break
        end = cut
        while end > start and string[end - 1] in ",&|":
            end -= 1
        break
    nouns: list[Symbol] = []
    for i in range(start, end):
        if string[i] == "N":
            nouns.append(line.symbols[i])
    return nouns, end


def _neighbours_before(line: Line, at: int) -> list[Symbol]:
    string = line.string
    if at > 1 and string[at - 2 : at] == "vO" and not line.symbols[at - 1].own:
        return line.subject(at - 1)  # "is greener near"
    if at > 0 and string[at - 1] in "vM" and not _is_reduced(line, at):
        return line.subject(at)
    if string[at] in "bA":
        return line.subject(at)
    if _is_reduced(line, at):
        at -= 1
        if string[at - 1] in ";,":
            noun = line.nearest(at - 1)
            return [noun] if noun else []
    if string[max(at - 1, 0)] == "," and string[at - 2 : at - 1] in ("N", "O", ")"):
        at -= 1
    nouns, start = line.list_before(at, is_subject=False)
    if nouns and nouns[-1].label in {n.label for n in line.nouns(at, len(string))[:1]}:
        nouns = nouns[-1:]  # "forests and settlements along roads": the settlements are
    if nouns or start < at:
        # "A road and trees near a pond": of a list under "with" all, else what stands nearest.
        return nouns
    return line.subject(at)


def _is_reduced(line: Line, at: int) -> bool:
    """Whether the verb before `at` is a participle: "structures visible along …"."""
    return (
        at > 1
        and line.string[at - 1] == "v"
        and line.string[at - 2] in "NO;,"
        and line.symbols[at - 1].words in _REDUCED
    )


def _antecedent(line: Line, at: int) -> list[Symbol]:
    """What "it" after a word of nearness stands for: the noun phrase before "with"."""
    i = at
    while i > 0 and line.string[i - 1] != "w":
        i -= 1
    if i == 0:
        return line.first_nouns(at)
    return line.list_before(i - 1)[0][-1:]
