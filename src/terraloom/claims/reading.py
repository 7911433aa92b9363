"""Claims of free English text, by constructions over symbols.

Every rule is an expression over the symbols of one sentence (`terraloom.claims.wording` lists
them) and a few lines that say which nouns it is about. Nothing is learned, nothing is looked up
outside, and time is linear in the text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from terraloom.claims.claim import MAX_CHARACTERS, Claim
from terraloom.claims.dominance import dominance
from terraloom.claims.line import Found, Line
from terraloom.claims.places_told import places
from terraloom.claims.quantities import quantities
from terraloom.claims.relations import adjacencies, comparisons
from terraloom.claims.shapes_told import shapes
from terraloom.claims.symbols import Symbol, plain_text, sentences
from terraloom.classes import ClassTable


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
        line = Line(symbols)
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
        for found in _constructions(line, frozenset(absent)):
            labels = tuple(_label(noun) for noun in found.nouns)
            if found.kind == "adjacency" and len(set(labels)) < 2:
                continue
            ordered = found.kind == "comparison" and found.value == "more"
            value = found.value
            apart: tuple[int, ...] = ()
            if value is not None and value.endswith(" of the rest"):
                before = [_label(s) for s in symbols[: found.at] if s.char == "N"]
                apart = tuple(sorted({*self._told, *before} - set(labels)))
            claims.append(
                Claim(
                    found.kind,
                    labels if ordered else tuple(sorted(set(labels))),
                    value,
                    (found.start, found.end),
                    # "Are not scattered": the verb itself is what the shape is told by.
                    negated=found.at in denied
                    or (found.kind == "shape" and line.string[max(found.at - 1, 0)] == "-"),
                    hedged=hedges[found.at] or any(hedges[line.index(n)] for n in found.nouns),
                    fine=all(noun.fine for noun in found.nouns)
                    or (found.kind == "adjacency" and any(noun.fine for noun in found.nouns)),
                    apart=apart,
                )
            )
        self._told += [_label(s) for s in symbols if s.char == "N"]
        return claims


def _label(noun: Symbol) -> int:
    assert noun.label is not None
    return noun.label


def _constructions(line: Line, absent: frozenset[int]) -> Iterator[Found]:
    """All claims but presence and absence, of nouns that are not said to be absent."""
    for found in (
        *quantities(line), *dominance(line), *places(line), *comparisons(line),
        *adjacencies(line), *shapes(line),
    ):  # fmt: skip
        nouns = tuple(n for n in found.nouns if line.index(n) not in absent)
        if nouns and (found.kind not in ("adjacency", "comparison") or len(nouns) == 2):
            yield replace(found, nouns=nouns)
