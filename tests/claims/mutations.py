"""True captions of the template writer, made false in one place; the mask judges, not the reader.

A mutation counts only where the statement that it changes was clearly true before and is clearly
false after, by `MaskOracle`. Which class an amount or a place belongs to is settled the same way:
the statement must have been true of it.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.captioners.caption_oracle import SEVEN_WORDS
from tests.claims.oracle import AMOUNTS, MaskOracle

WORDS = SEVEN_WORDS
"""Nouns of the seven classes as the writer uses them, by label."""
_PLACES: Mapping[str, str] = {
    "in the north-west": "nw", "in the north-east": "ne", "in the south-west": "sw",
    "in the south-east": "se", "in the north": "n", "in the south": "s", "in the west": "w",
    "in the east": "e", "in the centre": "c", "along the northern edge": "N",
    "along the southern edge": "S", "along the western edge": "W", "along the eastern edge": "E",
}  # fmt: skip
_PLACE = re.compile(
    "|".join(rf"{re.escape(p)}(?![-\w]| half)" for p in sorted(_PLACES, key=len, reverse=True))
)
_OWNER = {word: c for c, words in WORDS.items() for word in words}
_NOUN = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(w)}(?![\w-])" for w in sorted(_OWNER, key=len, reverse=True)),
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(a)}(?![\w-])" for a in sorted(AMOUNTS, key=len, reverse=True)),
    re.IGNORECASE,
)
_COVERS = (
    r"(?:covers?|occup(?:y|ies)|takes? up|makes? up|accounts? for|extends? over|spreads? over)"
)


@dataclass(frozen=True)
class Mutation:
    """A caption with one statement made false."""

    kind: str
    text: str
    before: str


def mutations(text: str, mask: MaskOracle, rng: random.Random) -> Iterator[Mutation]:
    """At most one mutation of each kind: class, place, amount, negation, shape."""
    for kind, make in (
        ("class", _class), ("place", _place), ("amount", _amount), ("negation", _negation),
        ("shape", _shape),
    ):  # fmt: skip
        found = list(make(text, mask))
        if found:
            yield Mutation(kind, rng.choice(found), text)


def _nouns(text: str) -> list[tuple[int, int, int]]:
    return [(_OWNER[m[0].lower()], m.start(), m.end()) for m in _NOUN.finditer(text)]


def is_plural(word: str) -> bool:
    return word in (
        "trees",
        "shrubs",
        "bushes",
        "crops",
        "cultivated fields",
        "buildings",
        "meadows",
        "settlements",
    )


def _like(before: str, after: str) -> str:
    return after[0].upper() + after[1:] if before[0].isupper() else after


def _class(text: str, mask: MaskOracle) -> Iterator[str]:
    """A class told as present, dominant or in an amount becomes another of which that is false."""
    nouns = _nouns(text)
    named = {c for c, _, _ in nouns}
    for c, start, end in nouns:
        if mask.is_absent(c):
            continue
        for other in set(WORDS) - named:
            amount = re.match(rf" {_COVERS} (?:about |roughly |around |close to )?", text[end:])
            told = _AMOUNT.match(text, end + len(amount[0])) if amount else None
            is_false = (
                mask.is_absent(other)
                or (
                    re.search(r"dominated by $", text[:start]) is not None
                    and mask.is_dominant(c)
                    and mask.cannot_dominate(other)
                )
                or (
                    told is not None
                    and text[:start].rstrip()[-1:] in ("", ".")
                    and mask.amount_is_true(mask.shares[c], told[0].lower())
                    and mask.amount_is_false(mask.shares[other], told[0].lower())
                )
            )
            if is_false:
                for word in WORDS[other]:
                    if is_plural(word) != is_plural(text[start:end].lower()):
                        continue
                    yield text[:start] + _like(text[start:end], word) + text[end:]


def _place(text: str, mask: MaskOracle) -> Iterator[str]:
    """A class is put where it is not."""
    nouns = _nouns(text)
    for match in _PLACE.finditer(text):
        before = [
            n for n in nouns if n[2] <= match.start() and "." not in text[n[2] : match.start()]
        ]
        if not before:
            continue
        c, _, end = before[-1]
        # Plain statements only: "trees lie mainly in the north".
        if re.search(r"[,;]| and | of ", text[end : match.start()]):
            continue
        if not mask.place_is_true(c, _PLACES[match[0]]):
            continue
        for phrase, region in _PLACES.items():
            if mask.place_is_false(c, region):
                yield text[: match.start()] + phrase + text[match.end() :]


def _amount(text: str, mask: MaskOracle) -> Iterator[str]:
    """Another amount of the same class."""
    for match in _AMOUNT.finditer(text):
        owners = []
        covered = re.search(
            rf"({_NOUN.pattern}) {_COVERS} (?:about |roughly |around |close to )?$",
            text[: match.start()],
            re.IGNORECASE,
        )
        is_of = re.match(
            rf" of the [a-z ]+? (?:is|consists of)(?: covered by| occupied by| taken up by)? "
            rf"({_NOUN.pattern})",
            text[match.end() :],
            re.IGNORECASE,
        )
        if covered and not re.search(r"(?:and|together),? *$", text[: covered.start()]):
            owners.append(covered[1])
        if is_of:
            owners.append(is_of[1])
        for owner in owners:
            share = mask.shares[_OWNER[owner.lower()]]
            if not mask.amount_is_true(share, match[0].lower()):
                continue
            hedge = re.search(r"(?:about|roughly|around|close to) $", text[: match.start()], re.I)
            start = hedge.start() if hedge else match.start()
            for words in AMOUNTS:
                if mask.amount_is_false(share, words):
                    yield text[:start] + _like(text[start : start + 1], words) + text[match.end() :]


def _negation(text: str, mask: MaskOracle) -> Iterator[str]:
    """What is there is denied, or what is not there is told."""
    for c, start, end in _nouns(text):
        before = text[:start]
        if re.search(r"\b(?:no|neither|without|free of) $", before, re.I) and mask.is_absent(c):
            for other in WORDS:
                if mask.shares[other] >= 0.01:
                    yield before + _like(text[start:end], WORDS[other][0]) + text[end:]
        match = re.fullmatch(r"(.*\. )?There (?:is|are) no ", before, re.I)
        if match and mask.is_absent(c):
            yield before.replace(" no ", " some ") + text[end - (end - start) :]
        verb = re.match(r" (lies?|appears?|occurs?|dominates?|covers?|makes? up)\b", text[end:])
        if verb and mask.shares[c] >= 0.01 and (not before or before.endswith(". ")):
            if verb[1].startswith("dominate") and not mask.is_dominant(c):
                continue
            yield f"{before}No {text[start:end].lower()}{text[end:]}"


_PIECE = r"(?:an?|one) (?:(?:single|compact|continuous|connected|elongated) )+(?:patch|block|area)"
_SCATTERED = r"scattered patches|many separate patches"


def _shape(text: str, mask: MaskOracle) -> Iterator[str]:
    """What hangs together is scattered, and what is scattered hangs together."""
    for match in re.finditer(rf"(?P<piece>{_PIECE})|(?P<scattered>{_SCATTERED})", text):
        after = re.match(rf" of ({_NOUN.pattern})", text[match.end() :], re.IGNORECASE)
        before = re.search(
            rf"({_NOUN.pattern}) (?:forms?|occurs? in|lies? in) $",
            text[: match.start()],
            re.IGNORECASE,
        )
        owner = after or before
        if owner is None:
            continue
        largest = mask.largest_part(_OWNER[owner[1].lower()])
        if match["piece"] and largest >= 0.97:
            yield text[: match.start()] + "scattered patches" + text[match.end() :]
        elif match["scattered"] and 0 < largest <= 0.4:
            yield text[: match.start()] + "one continuous patch" + text[match.end() :]
