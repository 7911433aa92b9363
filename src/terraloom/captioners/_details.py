"""Details: a second sentence about place, shape, neighbours, what is left, what is absent."""

import re
from typing import Final

from terraloom.captioners._draft import (
    LARGEST_LEAD,
    LIE,
    MAINLY,
    SEEN,
    SMALL,
    Draft,
    Rule,
    listed,
    pieces,
)
from terraloom.facts import UNKNOWN_TOLD, amount_words

_FRACTION: Final = re.compile(r"half|third|quarter|fifth|tenth")
_REST: Final = ("the rest", "the remainder", "what remains")
COVERS: Final = ("classes", "covers", "kinds of land cover")
TEXTURE_SECOND: Final = 0.15
"""Least share of the second class where a texture is told."""


def _detail_place(d: Draft) -> str | None:
    placed = [(x, p) for x in d.untold() if (p := d.of(x).place) is not None]
    if not placed:
        return None
    label, place = d.pick(placed[:3])
    noun, where = d.sized(label), d.at(label)
    if place.kind == "throughout":
        return d.pick(
            (
                f"{noun.text} {noun.agree('is', 'are')} spread throughout {d.area()}",
                f"{noun.text} {noun.agree('occurs', 'occur')} throughout",
                f"{noun.text} {noun.agree('is', 'are')} found throughout",
            )
        )
    options = [
        f"{noun.text} {noun.agree(*d.pick(LIE))} {where}",
        f"{noun.text} {noun.agree('is', 'are')} concentrated {place.words}",
    ]
    if place.is_firm and place.kind != "half" and d.of(label).share > SMALL:
        options.append(f"{place.words} {noun.agree('lies', 'lie')} {noun.text}")
    return d.pick(options)


def _detail_places(d: Draft) -> str | None:
    placed = [x for x in d.untold()[:4] if (p := d.of(x).place) and p.kind != "throughout"]
    if len(placed) < 2:
        return None
    a, b = d.shuffled(placed)[:2]
    if d.of(a).place.words == d.of(b).place.words:  # type: ignore[union-attr]
        return None
    first, verb = d.sized(a), d.pick(LIE)
    return f"{first.text} {first.agree(*verb)} {d.at(a)}, {d.sized(b).text} {d.at(b)}"


def _detail_amount(d: Draft) -> str | None:
    untold = d.untold()
    if not untold:
        return None
    label = d.pick(untold[:3])
    words = amount_words(d.of(label).share)
    if not words:
        return None
    text = f"{d.cover(label)} {d.pick(words)} of {d.area()}"
    place = d.of(label).place
    if place is not None and place.kind != "throughout" and d.chance(0.6):
        text += f", {d.pick(MAINLY)} {place.words}"
    return text


def _detail_amounts(d: Draft) -> str | None:
    untold = d.untold()
    if len(untold) < 2:
        return None
    a, b = untold[:2]
    words = amount_words(d.of(a).share), amount_words(d.of(b).share)
    # "A smaller part and about a fifth" would set a measure beside a guess.
    fractions = [[w for w in own if _FRACTION.search(w)] for own in words]
    others = [[w for w in own if not _FRACTION.search(w)] for own in words]
    kinds = [kind for kind in (fractions, others) if all(kind)]
    if not kinds:
        return None
    told = d.pick(kinds)
    first, second = d.pick(told[0]), d.pick(told[1])
    if first.split()[-1] == second.split()[-1] and told is fractions:
        return None
    if first == second or first.split()[-2:] == second.split()[-2:]:
        return None
    return f"{d.cover(a)} {first} of {d.area()} and {d.noun(b).text} {second}"


def _detail_corridor(d: Draft) -> str | None:
    found = [(x, c) for x in d.untold() if (c := d.of(x).corridor) is not None]
    if not found:
        return None
    label, corridor = d.pick(found)
    verb = d.pick(("winds", "meanders") if corridor.is_winding else ("runs", "leads", "stretches"))
    strip = d.strip(corridor, is_told=corridor.is_winding)
    return f"{strip} of {d.noun(label).of_it} {verb} {corridor.words}"


def _detail_shape(d: Draft) -> str | None:
    shaped = [
        x
        for x in d.untold()
        if d.of(x).corridor is None and (d.of(x).is_fragmented or d.of(x).is_block)
    ]
    if not shaped:
        return None
    label = d.pick(shaped[:3])
    noun, facts = d.noun(label), d.of(label)
    where = f" {d.at(label)}" if facts.place is not None and d.chance(0.5) else ""
    many_of = f"patches of {noun.of_it}" if noun.lies_in_patches else noun.text
    if facts.is_fragmented:
        many = (
            "form many separate patches" if noun.plural else "is split into many separate patches"
        )
        return d.pick(
            (
                f"{noun.text} {noun.agree('occurs', 'occur')} in scattered patches{where}",
                f"{noun.text} {many}{where}",
                f"{noun.text} {noun.agree('lies', 'lie')} scattered in many patches{where}",
                f"scattered {many_of} {d.pick(LIE[:1] + LIE[2:4])[1]}{where}"
                if where
                else f"scattered {many_of} {d.pick(('appear', 'occur'))} as well",
            )
        )
    piece = d.pick(pieces(facts))
    return d.pick(
        (
            f"{noun.text} {noun.agree('forms', 'form')} {piece}{where}",
            f"{noun.text} {noun.agree('lies', 'lie')} in {piece}{where}",
            f"{piece} of {noun.of_it} {d.pick(('lies', 'is found'))}{where}"
            if where
            else f"there is {piece} of {noun.of_it}",
        )
    )


def _detail_of_only(d: Draft) -> str | None:
    """Shape or place of the one class that the first sentence names."""
    if len(d.told) != 1:
        return None
    facts, noun = d.of(d.told[0]), d.noun(d.told[0])
    # That something large hangs together is no news.
    if facts.share >= 0.6:
        return None
    # The noun again: "it" could as well be the scene.
    the = f"the {noun.text}"
    options = []
    if facts.is_fragmented:
        many = (
            "form many separate patches" if noun.plural else "is split into many separate patches"
        )
        options.append(f"{the} {many}")
    if facts.is_block:
        options.append(f"{the} {noun.agree('forms', 'form')} {d.pick(pieces(facts))}")
    if facts.place is not None and facts.place.kind != "throughout":
        options.append(f"{the} {noun.agree(*d.pick(LIE))} {d.at(facts.label)}")
    return d.pick(options) if options else None


def _detail_texture(d: Draft) -> str | None:
    """How finely the classes mix, where at least two of some size do or do not."""
    mixture, ranked = d.facts.mixture, d.facts.ranked
    if mixture is None or d.of(ranked[1]).share < TEXTURE_SECOND or len(d.told) < 2:
        return None
    if d.facts.known < 1 - UNKNOWN_TOLD:
        return None
    if mixture.is_fine:
        return d.pick(
            (
                f"the {d.pick(COVERS)} alternate over short distances",
                f"the {d.pick(COVERS)} are finely mixed",
                f"{d.area()} is finely grained",
            )
        )
    if mixture.is_apart:
        return d.pick(
            (
                f"the {d.pick(COVERS)} hardly mix",
                f"the {d.pick(COVERS)} keep largely apart",
                f"the {d.pick(COVERS)} meet along few and clear borders",
            )
        )
    return None


def _detail_neighbour(d: Draft) -> str | None:
    found = [
        (x, y) for x in d.untold() if (y := d.of(x).main_neighbour) is not None and y in d.told
    ]
    if not found or len(d.facts.ranked) < 3:
        return None  # of two classes, each borders the other: nothing is said by it
    label, neighbour = d.pick(found[:3])
    noun, other = d.sized(label), d.noun(neighbour).text
    return d.pick(
        (
            f"{noun.text} mainly {noun.agree('borders', 'border')} the {other}",
            f"{noun.text} {noun.agree('shares', 'share')} most of {noun.agree('its', 'their')} "
            f"border with the {other}",
            f"{noun.text} {noun.agree('lies', 'lie')} mostly next to the {other}",
            f"{noun.text} {noun.agree('is', 'are')} bordered mainly by the {other}",
        )
    )


def _detail_rest(d: Draft) -> str | None:
    untold = d.untold()
    left = 1.0 - sum(d.of(label).share for label in d.told)
    if not untold or left < 0.04 or len(d.told) > 2 or d.facts.known < 1 - UNKNOWN_TOLD:
        return None
    rest = d.pick(_REST)
    shares = [d.of(label).share / left for label in untold]
    if shares[0] >= 0.97:
        return f"{rest} is {d.noun(untold[0]).text}"
    if len(untold) > 1 and sum(shares[:2]) >= 0.97 and d.chance(0.6):
        return f"{rest} is {listed([d.noun(label).text for label in untold[:2]])}"
    if shares[0] < 0.65:
        return None
    adverb = d.pick(MAINLY)
    return d.pick(
        (
            f"{rest} is {adverb} {d.noun(untold[0]).text}",
            f"{rest} consists {adverb} of {d.noun(untold[0]).text}",
        )
    )


def _detail_next(d: Draft) -> str | None:
    ranked = d.facts.ranked
    if d.told != [ranked[0]] or len(ranked) < 3 or d.facts.lead < LARGEST_LEAD:
        return None
    shares = [d.of(label).share for label in ranked]
    if shares[1] - shares[2] < LARGEST_LEAD:
        return None
    noun = d.noun(ranked[1])
    return d.pick(
        (
            f"{noun.text} {noun.agree('comes', 'come')} second, ahead of {d.noun(ranked[2]).text}",
            f"next in extent {noun.agree('is', 'are')} {noun.text}",
            f"{noun.text} {noun.agree('is', 'are')} second in extent",
        )
    )


def _detail_minor(d: Draft) -> str | None:
    small = [label for label in d.untold() if d.of(label).share <= 0.06]
    if not small:
        return None
    names = listed([d.small(label) for label in d.shuffled(small)[: d.pick((1, 2, 2))]])
    return d.pick(
        (
            f"{names} are also {d.pick(('present', 'visible'))}",
            f"{names} {d.pick(('appear', 'occur'))} as well",
            f"there are also {names}",
        )
    )


def _detail_half(d: Draft) -> str | None:
    found = [half for half in d.facts.halves if half.label not in d.told]
    if not found:
        return None
    half = d.pick(found)
    adverb = "almost entirely" if half.share >= 0.95 else d.pick(MAINLY)
    return f"{half.words} is {adverb} {d.noun(half.label).text}"


def _detail_absent(d: Draft) -> str | None:
    absent = d.facts.absent
    if not absent:
        return None
    nouns = [d.noun(label) for label in d.shuffled(absent)[: d.pick((1, 2, 2, 3, 3))]]
    # "No moss and lichen or snow and ice" is hard to follow: such a noun stands alone.
    paired = [noun for noun in nouns if " and " in noun.text]
    nouns = paired[:1] or nouns
    names = listed([noun.text for noun in nouns], "or")
    is_ = nouns[-1].agree("is", "are")
    options = [
        f"no {names} {is_} {d.pick(SEEN)}",
        f"there {nouns[0].agree('is', 'are')} no {names}",
        f"{d.area()} is free of {names}",
        f"{d.area()} is without {names}",
        f"{d.area()} has no {names}",
        f"{d.area()} contains no {names}",
    ]
    if len(nouns) == 2:
        options.append(f"neither {nouns[0].text} nor {nouns[1].text} {is_} {d.pick(SEEN)}")
        both = listed([noun.text for noun in nouns])
        options.append(f"{both} are absent")
    return d.pick(options)


def _detail_unknown(d: Draft) -> str | None:
    if d.facts.known > 0.9 or d.facts.known == 0:
        return None
    amount = "much" if d.facts.known < 0.65 else "part"
    whole = "image" if d.facts.compass else "picture"
    return d.pick(
        (
            f"{amount} of the {whole} is unlabelled",
            f"{amount} of the {whole} carries no label",
            f"for {amount} of the {whole} the class is not known",
        )
    )


DETAILS: Final[tuple[Rule, ...]] = (
    _detail_place, _detail_places, _detail_amount, _detail_amounts, _detail_corridor,
    _detail_corridor, _detail_shape, _detail_shape, _detail_texture, _detail_of_only,
    _detail_neighbour, _detail_rest, _detail_next, _detail_minor, _detail_half, _detail_absent,
    _detail_unknown,
)  # fmt: skip
"""Rules of a second sentence."""
