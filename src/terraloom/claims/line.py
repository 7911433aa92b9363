"""One sentence of symbols: noun phrases, subjects, denials and hedges."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from terraloom.claims.claim import ClaimKind
from terraloom.claims.symbols import Symbol

PAREN: Final = r"(?:\(q\))?"
ITEM: Final = rf"[xkm]*[NO]{PAREN}"
_BARE_ITEM: Final = rf"x*[NO]{PAREN}"


def _list_of(item: str) -> str:
    """One item, "a, b and c", or "a and b"; "a and b, and c" is a list and something else."""
    return rf"{item}(?:(?:,{item})*,?[&|]{item}(?:[&|]{item})*|(?:,{item})+)?"


LIST: Final = _list_of(ITEM)
SHARED: Final = _list_of(_BARE_ITEM)
"""A list whose members are told one amount together."""
NEXT_LIST: Final = re.compile(LIST)
_DENIED_ITEM: Final = r"[xkm]*[NO]"
# "No water and trees cover it" denies no trees; "no trees, water and crops" denies all three.
_ABSENT_AFTER: Final = re.compile(
    rf"-[xvkmi]*[NO](?:(?:,{_DENIED_ITEM})+,?(?:\||&(?={_DENIED_ITEM}(?![cvEbD]))){_DENIED_ITEM}"
    rf"|,?\|{_DENIED_ITEM}|&{_DENIED_ITEM}(?![cvEbD]))?|-vN"
)
_CLAUSE: Final = re.compile(
    rf"(,&|,|&)(?={_BARE_ITEM}(?:[&|]{_BARE_ITEM})?[vM]*(?:[cE>Z]|v[pMaivCD]))"
    rf"|(,&)(?={ITEM}v[vM]*[pa])"
)
_VERB: Final = re.compile(r"[cvDECGY>=MX2]")
_DENIED: Final = re.compile(r"-[v~O]{0,2}(?=[DcCEMT])|-v?(?=O)")


REDUCED: Final = frozenset(
    ("visible", "located", "situated", "found", "seen", "present", "running", "nestled",
     "arranged", "parked", "scattered", "built", "planted", "placed")
)  # fmt: skip
"""Participles that may follow their noun: "structures located along the river"."""


@dataclass(frozen=True, slots=True)
class Found:
    """A claim before it is known whether it is hedged or denied."""

    kind: ClaimKind
    nouns: tuple[Symbol, ...]
    value: str | None
    at: int
    """Index of the symbol that makes the claim."""
    start: int
    end: int


def until_own(nouns: Sequence[Symbol]) -> list[Symbol]:
    """Nouns up to the first, but for the very first, that has a determiner of its own."""
    for i, noun in enumerate(nouns):
        if i and noun.own:
            return list(nouns[:i])
    return list(nouns)


class Line:
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
        self._part_clauses()

    def _part_clauses(self) -> None:
        """Marks where a second clause begins: "…, and grass covers a third"."""
        start = 0
        parts = []
        for match in _CLAUSE.finditer(self.string):
            # Without a verb before it, what stands there is the rest of the subject.
            if _VERB.search(self.string, start, match.start()):
                parts.append(match.start())
                start = match.end()
        for at in parts:
            self.symbols[at].char = ";"
        if parts:
            self.string = "".join(s.char for s in self.symbols)

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
                nouns, _ = self.list_before(i)
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
                # "Possibly with a pond" is about the pond; "a possible road with trees" is not
                # about the trees.
                reach = ",;)" if self.string[i + 1 : i + 2] == "w" else ",;w)"
            result[i] = bool(reach)
        return result

    # ------------------------------------------------------------------ noun phrases

    def nouns(self, start: int, end: int) -> list[Symbol]:
        """Class nouns among the symbols from `start` to `end` (exclusive)."""
        return [s for s in self.symbols[start:end] if s.char == "N"]

    def list_before(self, end: int, *, is_subject: bool = True) -> tuple[list[Symbol], int]:
        """Class nouns of the list of noun phrases that ends before `end`, and where it starts.

        The start is `end` where no noun phrase stands there. In "a park in a town and trees are",
        the town is no subject; where a list is sought that may itself be an object
        (`is_subject=False`), it would count.
        """
        string = self.string
        at = end
        while at > 0 and string[at - 1] in "p~e":
            at -= 1
        start = self.item_before(at)
        if start == at:
            return [], end
        while True:
            separator = start
            while separator > 0 and string[separator - 1] in ",&|":
                separator -= 1
            item = self.item_before(separator) if separator < start else separator
            # The object of a preposition is no part of a later subject.
            if item == separator or (is_subject and item > 0 and string[item - 1] in "aiwfCDb"):
                break
            start = item
        return self.nouns(start, at), start

    def item_before(self, end: int) -> int:
        """Where the noun phrase that ends before `end` starts; `end` where there is none."""
        string = self.string
        at = end - 3 if string[max(end - 3, 0) : end] == "(q)" else end
        if at == 0 or string[at - 1] not in "NO":
            return end
        at -= 1
        while at > 0 and string[at - 1] in "xkm":
            at -= 1
        return at

    def subject(self, end: int) -> list[Symbol]:
        """Class nouns of the subject of a verb at `end`."""
        at = end
        while at > 0 and self.string[at - 1] in "vWM~,eT-?":
            at -= 1
        nouns, start = self.list_before(at)
        # "A pond near trees is …": what hangs on a preposition is not the subject, nor are things
        # without a class after "and" where one stood before: "fields of green and brown are …".
        while start > 1 and self.string[start - 1] in ("aiwf" if nouns else "aiwf&|"):
            at = start - 1
            while at > 0 and self.string[at - 1] in "vM":
                at -= 1
            before, before_start = self.list_before(at)
            if before_start == at:
                break
            nouns, start = before, before_start
        if nouns or start < at:
            return nouns
        return self.first_nouns(end)

    def first_nouns(self, end: int) -> list[Symbol]:
        """Class nouns of the first noun phrases before `end` that name a class."""
        for match in NEXT_LIST.finditer(self.string, 0, end):
            nouns = self.nouns(*match.span())
            if nouns:
                return nouns
        return []

    def nearest(self, end: int) -> Symbol | None:
        """The last class noun before `end` in its clause."""
        for i in range(end - 1, -1, -1):
            if self.string[i] == "N":
                return self.symbols[i]
            if self.string[i] == ";":
                return None
        return None

    def is_of_scene(self, at: int) -> bool:
        """Whether what stands before `at` is the scene, or nothing at all."""
        i = at - 1
        while i >= 0 and self.string[i] in "vCcM~-?i,":
            i -= 1
        return i < 0 or self.string[i] in "s;,txR" or (self.string[i] == "O")

    def found(self, kind: ClaimKind, nouns: Sequence[Symbol], value: str | None, at: int) -> Found:
        """A claim made by the symbol at `at` of these nouns, with the characters of both."""
        told = [*nouns, self.symbols[at]]
        return Found(
            kind, tuple(nouns), value, at, min(s.start for s in told), max(s.end for s in told)
        )

    def value(self, at: int) -> str:
        """Value of the symbol at `at`, which has one."""
        value = self.symbols[at].value
        assert value is not None
        return value
