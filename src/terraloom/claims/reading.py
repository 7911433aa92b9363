"""Claims of free English text, by constructions over symbols.

Every rule is an expression over the symbols of one sentence (`terraloom.claims.wording` lists
them) and a few lines that say which nouns it is about. Nothing is learned, nothing is looked up
outside, and time is linear in the text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from terraloom.claims.claim import MAX_CHARACTERS, Claim, ClaimKind
from terraloom.claims.symbols import Symbol, plain_text, sentences
from terraloom.classes import ClassTable

_PAREN: Final = r"(?:\(q\))?"
_ITEM: Final = rf"[xkm]*[NO]{_PAREN}"
_BARE_ITEM: Final = rf"x*[NO]{_PAREN}"


def _list_of(item: str) -> str:
    """One item, "a, b and c", or "a and b"; "a and b, and c" is a list and something else."""
    return rf"{item}(?:(?:,{item})*,?[&|]{item}(?:[&|]{item})*|(?:,{item})+)?"


_LIST: Final = _list_of(_ITEM)
_SHARED: Final = _list_of(_BARE_ITEM)
"""A list whose members are told one amount together."""
_NEXT_LIST: Final = re.compile(_LIST)

_ABSENT_AFTER: Final = re.compile(
    r"-[xvkmi]*[NO](?:(?:,[xkm]*[NO])*,?(?:\|[xkm]*[NO]|&[xkm]*[NO](?![cvEbD])))?|-vN"
)
_DENIED: Final = re.compile(r"-[v~O]{0,2}(?=[DcCEMT])")
_PAREN_AMOUNT: Final = re.compile(r"\(q\)")
_COVERS_AMOUNT: Final = re.compile(r"[,e]*(?:v?e)?c[eMTi]*(q)(?:[ik]?(q))?(?!fN)")
_IS_AT: Final = re.compile(r"v[mkO]?i(q)")
_AMOUNT_IS: Final = re.compile(rf"(q)f?[sR][OWip]*[vCce]+[vCTM~ie]*({_SHARED})")
_AMOUNT_USED: Final = re.compile(rf"(q)v?C({_SHARED})")
_AMOUNT_OF: Final = re.compile(rf"(q)f({_SHARED})")
_AMOUNT_NOUN: Final = re.compile(r"(q)x*(N)")
_AMOUNT_ALONE: Final = re.compile(rf"(q),?({_ITEM})$")
_GAPPED: Final = re.compile(r"[&,;]([NO])(q)")
_NOTHING_BUT: Final = re.compile(rf"X({_LIST})")
_WHOLLY: Final = re.compile(rf"T[vCi]*({_LIST})")
_DOMINATED: Final = re.compile(rf"D[MTi]*({_LIST})")
_DOMINATES: Final = re.compile(r"[vM]*E")
_MAINLY: Final = re.compile(rf"M[viCc]*({_LIST})")
_COVERS_SCENE: Final = re.compile(r"cs")
_LARGEST_IS: Final = re.compile(rf"G(?:[fis]*)v({_LIST})")
_IS_LARGEST: Final = re.compile(r"(?:[cv]+|c)[is]*[GZ]")
_NO_CLASS: Final = re.compile(r"Y(?:[xO]*)(N)")
_FILLS: Final = re.compile(rf"h[vce]*(?:M|T)?[vCi]*({_LIST})")
_MORE: Final = re.compile(r"g(?:[Ofiseqx]*)H(?:i?)([xO]*N)")
_OUTNUMBER: Final = re.compile(rf">({_LIST})")
_EQUAL: Final = re.compile(r"[cv]*e?=")
_AS_MUCH: Final = re.compile(r"U(N)i(N)")
_FOLLOWED: Final = re.compile(rf"F({_LIST}|N(?:[&,]N)*)")


@dataclass(frozen=True, slots=True)
class _Found:
    """A claim before it is known whether it is hedged or denied."""

    kind: ClaimKind
    nouns: tuple[Symbol, ...]
    value: str | None
    at: int
    """Index of the symbol that makes the claim."""
    start: int
    end: int


def read_claims(text: str, classes: ClassTable) -> list[Claim]:
    """Claims of a caption, in the order in which they stand there.

    Args:
        text: any string; only the first `MAX_CHARACTERS` are read. Marks that show nothing or turn
            the direction of writing are passed over; nothing in the text is ever run or obeyed.
        classes: whose names, synonyms and concepts are known (`terraloom.claims.lexicon`).

    Returns:
        Each claim once; presence once per class, at its first mention that is not hedged.
    """
    plain, places = plain_text(text[:MAX_CHARACTERS])
    found: list[Claim] = []
    reader = _Reader()
    for symbols in sentences(plain, classes):
        found += reader.read(symbols)
    if places is not None:
        found = [replace(c, span=(places[c.span[0]], places[c.span[1] - 1] + 1)) for c in found]
    return _once(found)


def _once(claims: Sequence[Claim]) -> list[Claim]:
    """Each claim once; one that is made outright counts before one that is hedged."""
    first: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        key = (claim.kind, claim.classes, claim.value, claim.negated)
        known = first.get(key)
        if known is None or (claim.hedged, claim.fine) < (known.hedged, known.fine):
            first[key] = claim
    return sorted(first.values(), key=lambda c: (c.span, c.kind, c.classes))


class _Reader:
    """Reads sentences of one caption; remembers which classes were told, for "the rest"."""

    def __init__(self) -> None:
        self._told: list[int] = []

    def read(self, symbols: list[Symbol]) -> list[Claim]:
        """Claims of one sentence."""
        line = _Line(symbols)
        if not line.has_classes:
            return []
        absent = line.absent()
        claims: list[Claim] = []
        hedges = line.hedged()
        for i in sorted(absent):
            noun = symbols[i]
            claims.append(
                Claim("absence", (_label(noun),), None, (noun.start, noun.end), hedged=hedges[i])
            )
        for i, noun in enumerate(symbols):
            if noun.char == "N" and i not in absent:
                claims.append(
                    Claim(
                        "presence",
                        (_label(noun),),
                        None,
                        (noun.start, noun.end),
                        hedged=hedges[i],
                        fine=noun.fine,
                    )
                )
        denied = line.denied()
        for found in line.claims(frozenset(absent)):
            labels = tuple(_label(noun) for noun in found.nouns)
            if found.kind == "adjacency" and len(set(labels)) < 2:
                continue
            ordered = found.kind == "comparison" and found.value == "more"
            value = found.value
            apart: tuple[int, ...] = ()
            if value is not None and value.endswith(" of the rest"):
                apart = tuple(sorted(set(self._told) - set(labels)))
            claims.append(
                Claim(
                    found.kind,
                    labels if ordered else tuple(sorted(set(labels))),
                    value,
                    (found.start, found.end),
                    negated=found.at in denied,
                    hedged=hedges[found.at] or any(hedges[line.index(n)] for n in found.nouns),
                    fine=all(noun.fine for noun in found.nouns)
                    or (found.kind == "adjacency" and any(noun.fine for noun in found.nouns)),
                    apart=apart,
                )
            )
        self._told += [_label(s) for s in symbols if s.char == "N"]
        return claims


def _until_own(nouns: Sequence[Symbol]) -> list[Symbol]:
    """Nouns up to the first, but for the very first, that has a determiner of its own."""
    for i, noun in enumerate(nouns):
        if i and noun.own:
            return list(nouns[:i])
    return list(nouns)


def _label(noun: Symbol) -> int:
    assert noun.label is not None
    return noun.label


class _Line:
    """One sentence: its symbols, the string of their characters, and what the rules find."""

    def __init__(self, symbols: list[Symbol]) -> None:
        self.symbols = symbols
        self.string = "".join(s.char for s in symbols)
        self._index = {id(s): i for i, s in enumerate(symbols)}
        self._free: list[int] = []
        for i, symbol in enumerate(symbols):
            if symbol.char == "j":  # "water-free"
                symbol.char = "N"
                self._free.append(i)
        if self._free:
            self.string = "".join(s.char for s in symbols)

    @property
    def has_classes(self) -> bool:
        """Whether any class is named at all."""
        return "N" in self.string

    def index(self, symbol: Symbol) -> int:
        """Where a symbol of this sentence stands in it."""
        return self._index[id(symbol)]

    # ------------------------------------------------------------------ denials and hedges

    def absent(self) -> set[int]:
        """Indices of class nouns that are said not to be there."""
        found = set(self._free)
        if "-" in self.string:
            for match in _ABSENT_AFTER.finditer(self.string):
                found.update(i for i in range(match.start(), match.end()) if self.string[i] == "N")
        for i, char in enumerate(self.string):
            if char == "B":
                nouns, _ = self._list_before(i)
                found.update(self.index(noun) for noun in nouns)
        return found

    def denied(self) -> set[int]:
        """Indices of verbs and adverbs whose claim is denied: "is not dominated by"."""
        if "-" not in self.string:
            return set()
        return {
            i
            for match in _DENIED.finditer(self.string)
            for i in range(match.end(), min(match.end() + 2, len(self.string)))
        }

    def hedged(self) -> list[bool]:
        """Whether each symbol stands in the reach of a hedge."""
        result = [False] * len(self.string)
        reach = ""
        for i, char in enumerate(self.string):
            if reach and char in reach:
                reach = ""
            if char == "?":
                reach = ";"
                # "There may be": a hedge before the noun; "trees may be": its subject too.
            elif char == "~" and not reach:
                reach = ",;w)"
            result[i] = bool(reach)
        return result

    # ------------------------------------------------------------------ noun phrases

    def _nouns(self, start: int, end: int) -> list[Symbol]:
        return [s for s in self.symbols[start:end] if s.char == "N"]

    def _list_before(self, end: int) -> tuple[list[Symbol], int]:
        """Class nouns of the list of noun phrases that ends before `end`, and where it starts.

        The start is `end` where no noun phrase stands there.
        """
        string = self.string
        at = end
        while at > 0 and string[at - 1] in "p~e":
            at -= 1
        start = self._item_before(at)
        if start == at:
            return [], end
        while True:
            separator = start
            while separator > 0 and string[separator - 1] in ",&|":
                separator -= 1
            item = self._item_before(separator) if separator < start else separator
            # The object of a preposition is no part of a later subject.
            if item == separator or (item > 0 and string[item - 1] in "aiwfCDb"):
                break
            start = item
        return self._nouns(start, at), start

    def _item_before(self, end: int) -> int:
        """Where the noun phrase that ends before `end` starts; `end` where there is none."""
        string = self.string
        at = end - 3 if string[max(end - 3, 0) : end] == "(q)" else end
        if at == 0 or string[at - 1] not in "NO":
            return end
        at -= 1
        while at > 0 and string[at - 1] in "xkm":
            at -= 1
        return at

    def _subject(self, end: int) -> list[Symbol]:
        """Class nouns of the subject of a verb at `end`."""
        at = end
        while at > 0 and self.string[at - 1] in "vWM~,eT-?":
            at -= 1
        nouns, start = self._list_before(at)
        # "A pond near trees is …": what hangs on a preposition is not the subject.
        while (
            start > 0
            and self.string[start - 1] in "aiwf"
            and not (self.string[start - 1] in "w" and start == 1)
        ):
            at = start - 1
            while at > 0 and self.string[at - 1] in "vM":
                at -= 1
            before, before_start = self._list_before(at)
            if before_start == at:
                break
            nouns, start = before, before_start
        if nouns or start < at:
            return nouns
        return self._first_nouns(end)

    def _first_nouns(self, end: int) -> list[Symbol]:
        """Class nouns of the first noun phrases before `end` that name a class."""
        for match in _NEXT_LIST.finditer(self.string, 0, end):
            nouns = self._nouns(*match.span())
            if nouns:
                return nouns
        return []

    def _nearest(self, end: int) -> Symbol | None:
        """The last class noun before `end` in its clause."""
        for i in range(end - 1, -1, -1):
            if self.string[i] == "N":
                return self.symbols[i]
            if self.string[i] == ";":
                return None
        return None

    # ------------------------------------------------------------------ claims

    def claims(self, absent: frozenset[int]) -> Iterator[_Found]:
        """All claims but presence and absence, of nouns that are not said to be absent."""
        for found in (
            *self._quantities(), *self._dominance(), *self._places(), *self._comparisons(),
            *self._adjacencies(),
        ):  # fmt: skip
            nouns = tuple(n for n in found.nouns if self.index(n) not in absent)
            if nouns and (found.kind not in ("adjacency", "comparison") or len(nouns) == 2):
                yield replace(found, nouns=nouns)

    def _found(
        self, kind: ClaimKind, nouns: Sequence[Symbol], value: str | None, at: int
    ) -> _Found:
        told = [*nouns, self.symbols[at]]
        return _Found(
            kind, tuple(nouns), value, at, min(s.start for s in told), max(s.end for s in told)
        )

    def _value(self, at: int) -> str:
        value = self.symbols[at].value
        assert value is not None
        return value

    def _quantities(self) -> Iterator[_Found]:
        string = self.string
        if "q" in string:
            yield from self._amounts()
        for match in _NOTHING_BUT.finditer(string):
            nouns = self._nouns(*match.span(1))
            yield self._found("quantity", nouns, self._value(match.start()), match.start())
        for match in _WHOLLY.finditer(string):
            nouns = self._nouns(*match.span(1))
            if self._is_of_scene(match.start()) and nouns:
                yield self._found("quantity", nouns, self._value(match.start()), match.start())
        yield from self._smallness()

    def _amounts(self) -> Iterator[_Found]:
        string = self.string
        used: set[int] = set()

        def amount(at: int, nouns: Sequence[Symbol]) -> Iterator[_Found]:
            if at not in used and nouns:
                used.add(at)
                yield self._found("quantity", nouns, self._value(at), at)

        for match in _PAREN_AMOUNT.finditer(string):
            noun = self._nearest(match.start())
            if noun is not None:
                yield from amount(match.start() + 1, [noun])
        for match in _COVERS_AMOUNT.finditer(string):
            nouns = self._subject(match.start())
            is_each = "e" in match[0] and any(
                self.symbols[i].words == "each" for i in range(*match.span())
            )
            for group in (1, 2):
                if match[group]:
                    at = match.start(group)
                    if is_each:
                        for noun in nouns:
                            yield self._found("quantity", [noun], self._value(at), at)
                        used.add(at)
                    else:
                        yield from amount(at, nouns)
        for match in _IS_AT.finditer(string):
            yield from amount(match.start(1), self._subject(match.start()))
        for pattern in (_AMOUNT_IS, _AMOUNT_USED):
            for match in pattern.finditer(string):
                yield from amount(match.start(1), self._nouns(*match.span(2)))
        for match in _AMOUNT_NOUN.finditer(string):
            if self.symbols[match.start()].own:
                yield from amount(match.start(), self._nouns(*match.span(2)))
        for match in _AMOUNT_OF.finditer(string):
            symbol = self.symbols[match.start()]
            nouns = self._nouns(*match.span(2))
            if symbol.value in _SMALL_VALUES and symbol.words in _SHARE_NOUNS:
                # "A small amount of trees and water": little of either.
                used.add(match.start())
                for noun in _until_own(nouns):
                    yield self._found("quantity", [noun], symbol.value, match.start())
            elif symbol.own or symbol.words in _SHARE_NOUNS:
                yield from amount(match.start(), nouns)
        for match in _GAPPED.finditer(string):
            yield from amount(match.start(2), self._nouns(*match.span(1)))
        for match in _AMOUNT_ALONE.finditer(string):
            yield from amount(match.start(1), self._nouns(*match.span(2)))

    def _is_of_scene(self, at: int) -> bool:
        """Whether what stands before `at` is the scene, or nothing at all."""
        i = at - 1
        while i >= 0 and self.string[i] in "vCcM~-?i,":
            i -= 1
        return i < 0 or self.string[i] in "s;,tx" or (self.string[i] == "O")

    def _smallness(self) -> Iterator[_Found]:
        string = self.string
        for i, char in enumerate(string):
            if char not in "mk":
                continue
            nouns = self._small_nouns(i)
            if not nouns and (match := _IS_SMALL.search(string, 0, i + 1)):
                after = string[i + 1 : i + 2]
                if after in _AFTER_PREDICATE or (after == "O" and self.symbols[i + 1].small):
                    nouns = self._subject(match.start())
            for noun in nouns:
                yield self._found("quantity", [noun], self._value(i), i)

    def _small_nouns(self, at: int) -> list[Symbol]:
        """Class nouns that a word of smallness stands before, where it speaks of extent."""
        string = self.string
        measured = string[at] == "m"
        start = at + 1
        while start < len(string) and string[start] in ",xOqfki":
            symbol = self.symbols[start]
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
        nouns = _until_own(self._nouns(*match.span()))
        if not nouns:
            return []
        # "Minor barren zones", "small grass and barren areas": the measure follows.
        follows = nouns[0].small or (nouns[0].adjective and nouns[-1].small)
        return nouns if measured or follows else []

    def _dominance(self) -> Iterator[_Found]:
        string = self.string
        for match in _DOMINATED.finditer(string):
            if self._subject_is_place(match.start()):
                continue
            nouns = self._nouns(*match.span(1))
            yield self._found("dominant", nouns, None, match.start())
        for match in _DOMINATES.finditer(string):
            if string[match.end() : match.end() + 1] in ("p", "h") or (
                string[match.end() : match.end() + 2] == "ih"
            ):
                continue  # dominates a half, not the whole
            nouns = self._subject(match.start())
            yield self._found("dominant", nouns, None, match.end() - 1)
        for match in _MAINLY.finditer(string):
            if self._is_of_scene(match.start()) and not self._subject_is_place(match.start()):
                nouns = self._nouns(*match.span(1))
                value = self.symbols[match.start()].value
                if self._rest_before(match.start()):
                    yield self._found("quantity", nouns[:1], "most of the rest", match.start())
                else:
                    yield self._found("dominant", nouns, value, match.start())
        for match in _COVERS_SCENE.finditer(string):
            yield self._found("dominant", self._subject(match.start()), None, match.start())
        for match in _LARGEST_IS.finditer(string):
            nouns = self._nouns(*match.span(1))
            value = self.symbols[match.start()].value
            yield self._found("dominant", nouns[:1], value, match.start())
        for match in _IS_LARGEST.finditer(string):
            at = match.end() - 1
            nouns = self._subject(match.start())
            yield self._found("dominant", nouns[:1], self.symbols[at].value, at)
        for match in _NO_CLASS.finditer(string):
            yield self._found("dominant", self._nouns(*match.span(1)), "largest", match.start())
        for i, symbol in enumerate(self.symbols):
            if symbol.char == "N" and symbol.whole:
                nouns = [symbol]
                before = _ADJECTIVES.search(string, 0, i + 1)
                if before:
                    nouns = [
                        s for s in self.symbols[before.start() : i + 1]
                        if s.char == "N" and (s.adjective or s is symbol)
                    ]  # fmt: skip
                yield self._found("dominant", nouns, None, i)

    def _subject_is_place(self, at: int) -> bool:
        i = at - 1
        while i >= 0 and self.string[i] in "vCcM~-?":
            i -= 1
        return i >= 0 and self.string[i] == "h"

    def _rest_before(self, at: int) -> bool:
        i = at - 1
        while i >= 0 and self.string[i] in "vCc~":
            i -= 1
        return i >= 0 and self.string[i] == "R"

    def _places(self) -> Iterator[_Found]:
        string = self.string
        if "h" in string:
            for match in _FILLS.finditer(string):
                region = self._value(match.start())
                nouns = self._nouns(*match.span(1))[:1]
                yield self._found("place", nouns, f"fills {region}", match.start())
            for match in re.finditer(r"Eh", string):
                nouns = self._subject(match.start())[:1]
                region = self._value(match.end() - 1)
                yield self._found("place", nouns, f"fills {region}", match.end() - 1)
        if "p" not in string:
            return
        for i, char in enumerate(string):
            if char != "p":
                continue
            nouns = self._placed(i)
            for noun in nouns:
                yield self._found("place", [noun], self._value(i), i)

    def _placed(self, at: int) -> list[Symbol]:
        """Class nouns that a place is told of."""
        string = self.string
        i = at - 1
        while i >= 0 and string[i] in "M~":
            i -= 1
        if self.symbols[at].own and i >= 0 and string[i] in ",&":
            return self._first_nouns(at)  # "one in the north"
        if string[i : i + 1] == "i" and self.symbols[i].words == "interspersed":
            return self._list_before(i)[0]
        if i < 0 or string[i] in ";" or (string[i] in ",&" and self._begins_clause(at)):
            # "In the north, trees prevail"; "in the centre lies water".
            match = re.compile(r"p,?(?:v|w)*([xkmO]*N)").match(string, at)
            return self._nouns(*match.span(1)) if match else []
        if string[i] == "v" or string[i] in "a":
            verb = i
            while verb > 0 and string[verb - 1] in "vM":
                verb -= 1
            if verb > 0 and string[verb - 1] in "NO)":
                nouns, start = self._list_before(verb)
                reduced = string[i] == "v" and self.symbols[i].words in _REDUCED and (verb == i)
                return nouns[-1:] if reduced and string[max(start - 1, 0)] in "wia" else nouns
            return self._subject(verb)
        if string[i] in "NO)" or string[i] == ",":
            j = i
            while j >= 0 and string[j] in ",q()O":
                if string[j] == "O":
                    return []
                j -= 1
            if j >= 0 and string[j] == "N":
                return [self.symbols[j]]
        if string[i] in "qsfce&":
            nouns = self._subject_of_clause(at)
            return nouns
        if string[i] == "p":
            return self._placed(i)
        return []

    def _begins_clause(self, at: int) -> bool:
        return re.compile(r"p,?v+[xkmO]*N").match(self.string, at) is not None

    def _subject_of_clause(self, at: int) -> list[Symbol]:
        """The class noun that the clause before `at` is about."""
        for i in range(at - 1, -1, -1):
            if self.string[i] in "cv" and i > 0:
                return self._subject(i)
            if self.string[i] == ";":
                break
        return []

    def _comparisons(self) -> Iterator[_Found]:
        string = self.string
        for match in _MORE.finditer(string):
            subjects = self._subject_of_more(match.start())
            others = self._nouns(*match.span(1))
            if subjects and others:
                pair = [subjects[0], others[0]]
                if self.symbols[match.start()].value == "less":
                    pair.reverse()
                yield self._found("comparison", pair, "more", match.start())
        for match in _MORE_OF.finditer(string):
            first, second = self._nouns(*match.span(1)), self._nouns(*match.span(2))
            if self.symbols[match.start()].value == "more" and first and second:
                yield self._found("comparison", [first[0], second[0]], "more", match.start())
        for match in _EVEN_LESS.finditer(string):
            first, second = self._nouns(*match.span(1)), self._nouns(*match.span(3))
            pair = [first[0], second[0]]
            if self.symbols[match.start(2)].value == "more":
                pair.reverse()
            yield self._found("comparison", pair, "more", match.start(2))
        for match in _OUTNUMBER.finditer(string):
            subjects, others = self._subject(match.start()), self._nouns(*match.span(1))
            if string[max(match.start() - 1, 0)] in ",2":
                subjects = self._nearest_list(match.start())
            if subjects and others:
                yield self._found("comparison", [subjects[0], others[0]], "more", match.start())
        for match in _EQUAL.finditer(string):
            nouns = self._subject(match.start())
            if len(nouns) == 2:
                yield self._found("comparison", nouns, "equal", match.end() - 1)
        for match in _AS_MUCH.finditer(string):
            nouns = [self.symbols[match.start(1)], self.symbols[match.start(2)]]
            yield self._found("comparison", nouns, "equal", match.start())
        for match in _FOLLOWED.finditer(string):
            first = self._first_of_rank(match.start())
            chain = [*first[:1], *self._nouns(*match.span(1))]
            for one, other in pairwise(chain):
                yield self._found("comparison", [one, other], "more", match.start())
        for i, char in enumerate(string):
            if char == "2":
                seconds = self._subject(i)
                first = self._first_of_rank(self.index(seconds[0])) if seconds else []
                if first and seconds:
                    yield self._found("comparison", [first[0], seconds[0]], "more", i)
                    third = _THIRD.match(string, i + 1)
                    if third and self.symbols[third.end() - 1].words == "third":
                        yield self._found(
                            "comparison", [first[0], self.symbols[third.start(1)]], "more", i
                        )

    def _nearest_list(self, end: int) -> list[Symbol]:
        noun = self._nearest(end)
        return [noun] if noun is not None else []

    def _subject_of_more(self, at: int) -> list[Symbol]:
        i = at
        while i > 0 and self.string[i - 1] in "vc-":
            i -= 1
        if i < at or (i > 0 and self.string[i - 1] in "NO"):
            found = self._subject(at)
            if found:
                return found
        # "…, yet smaller than": of the same subject as before.
        return self._first_nouns(at)

    def _first_of_rank(self, end: int) -> list[Symbol]:
        """The class that the sentence calls dominant or largest first, before `end`."""
        for found in self._dominance():
            if all(self.index(noun) < end for noun in found.nouns) and found.nouns:
                return list(found.nouns)
        return self._first_nouns(end)

    def _adjacencies(self) -> Iterator[_Found]:
        string = self.string
        for i, char in enumerate(string):
            if char not in "abA":
                continue
            if char == "b" and string[i + 1 : i + 2] in ("v", "f", ""):
                continue
            value = "mainly" if char == "A" else None
            rights, end = self._neighbours_after(i)
            lefts = self._neighbours_before(i)
            word = self.symbols[i].words
            if word == "between" and len(rights) == 2:
                yield self._found("adjacency", rights, value, i)
            if end == i + 1 and char == "a":  # nothing follows: "while a road beside"
                rights = [n for n in self._first_nouns(i) if n not in lefts]
            for left in lefts:
                for right in rights:
                    if left.label != right.label:
                        yield self._found("adjacency", [left, right], value, i)

    def _neighbours_after(self, at: int) -> tuple[list[Symbol], int]:
        """Class nouns that a word of nearness leads to, and where they end."""
        string = self.string
        start = at + 1
        while start < len(string) and string[start] in "Mi":
            start += 1
        if string[start : start + 1] == "t":
            return self._antecedent(at), start + 1
        # "Surrounded by a mix of forest": a measure may stand before; a list ends at a verb.
        match = _NEXT_LIST.match(string, start)
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
                nouns.append(self.symbols[i])
        return nouns, end

    def _neighbours_before(self, at: int) -> list[Symbol]:
        string = self.string
        if at > 1 and string[at - 2 : at] == "vO" and not self.symbols[at - 1].own:
            return self._subject(at - 1)  # "is greener near"
        if at > 0 and string[at - 1] in "vM" and not self._is_reduced(at):
            return self._subject(at)
        if string[at] in "bA":
            return self._subject(at)
        if self._is_reduced(at):
            at -= 1
            if string[at - 1] in ";,":
                noun = self._nearest(at - 1)
                return [noun] if noun else []
        if string[max(at - 1, 0)] == "," and string[at - 2 : at - 1] in ("N", "O", ")"):
            at -= 1
        nouns, start = self._list_before(at)
        if nouns or start < at:
            # "A road and trees near a pond": of a list under "with" all, else what stands nearest.
            return nouns
        return self._subject(at)

    def _is_reduced(self, at: int) -> bool:
        """Whether the verb before `at` is a participle: "structures visible along …"."""
        return (
            at > 1
            and self.string[at - 1] == "v"
            and self.string[at - 2] in "NO;,"
            and self.symbols[at - 1].words in _REDUCED
        )

    def _antecedent(self, at: int) -> list[Symbol]:
        """What "it" after a word of nearness stands for: the noun phrase before "with"."""
        i = at
        while i > 0 and self.string[i - 1] != "w":
            i -= 1
        if i == 0:
            return self._first_nouns(at)
        return self._list_before(i - 1)[0][-1:]


_SMALL_VALUES: Final = frozenset(("small part", "tiny part", "modest part"))
_SHARE_NOUNS: Final = frozenset(
    form
    for noun in ("part", "portion", "proportion", "share", "fraction", "amount", "percentage",
                 "percent", "majority", "bulk")
    for form in (noun, noun + "s")
)  # fmt: skip
_TIGHT_LIST: Final = re.compile(_SHARED)
_IS_SMALL: Final = re.compile(r"v+(?:iO,?|i,?)?[mk]$")
_AFTER_PREDICATE: Final = ("", ",", ";", "(", "i", "&", ")")
_ADJECTIVES: Final = re.compile(r"(?:N[,&|]+)+N$")
_MORE_OF: Final = re.compile(r"g(N)H([xO]*N)")
_EVEN_LESS: Final = re.compile(r"[mg](N)[&,;](g)(N)")
_THIRD: Final = re.compile(r"[&,](N)O")
_REDUCED: Final = frozenset(
    ("visible", "located", "situated", "found", "seen", "present", "running", "nestled",
     "arranged", "parked", "scattered", "built", "planted", "placed")
)  # fmt: skip
