"""First clauses of a caption: what the scene mostly is."""

from typing import Final

from terraloom.captioners._draft import (
    COVER,
    KINDS,
    LANDSCAPES,
    MAINLY,
    PICTURES,
    SEEN,
    Draft,
    Fragment,
    Rule,
    listed,
)
from terraloom.facts import UNKNOWN_TOLD, ClassFacts, Region, amount_words

_WHOLE: Final = ("whole", "entire")
_OPPOSITE: Final[tuple[tuple[Region, Region], ...]] = (("north", "south"), ("west", "east"))
DOMINANT_TOLD: Final = 0.04
"""Least lead of a class that is called the largest outright."""
SIMILAR: Final = 0.04
"""Largest difference of two shares that are called similar."""
MIX_LEAST: Final = 0.08
"""Least share of a class that a mix is said to be of."""
TEXTURE_TOLD: Final = 0.85
"""Least share of the classes that a texture is told of."""
MIXING_LEAST: Final = 0.40
"""Least mixing of a mosaic or a patchwork."""

# ---------------------------------------------------------------- heads with a dominant class


def _cover_amount(d: Draft) -> str | None:
    label = d.facts.ranked[0]
    words = amount_words(d.of(label).share)
    return f"{d.cover(label)} {d.pick(words)} of {d.area()}" if words else None


def _amount_is(d: Draft) -> str | None:
    label = d.facts.ranked[0]
    words = amount_words(d.of(label).share)
    if not words:
        return None
    noun = d.noun(label)
    # "Half of it is trees" grates; "is cropland" does not.
    link = d.pick(("is covered by", "is occupied by", "is taken up by"))
    if not noun.plural and d.chance(0.5):
        link = d.pick(("is", "consists of"))
    return f"{d.pick(words)} of {d.area()} {link} {noun.text}"


def _dominates(d: Draft) -> str | None:
    facts = d.of(d.facts.ranked[0])
    if not _is_dominating(facts, d.facts.lead):
        return None
    noun, area = d.noun(facts.label), d.area()
    return d.pick(
        (
            f"{noun.text} {noun.agree('dominates', 'dominate')} {area}",
            f"{area} is dominated by {noun.text}",
            f"{area} is {d.pick(('clearly', 'plainly'))} dominated by {noun.text}"
            if d.facts.lead >= 0.25
            else f"{area} is dominated by {noun.text}",
            f"{noun.text} {noun.agree('prevails', 'prevail')} in {area}",
        )
    )


def _is_mostly(d: Draft) -> str | None:
    facts = d.of(d.facts.ranked[0])
    if facts.share < 0.6:
        return None
    noun, area = d.noun(facts.label), d.area()
    adverb = d.pick(MAINLY)
    if facts.share >= 0.93:
        adverb = d.pick(("almost entirely", "nearly all", "almost exclusively"))
    if noun.plural or d.chance(0.3):
        return f"{area} is {adverb} covered by {noun.text}".replace("nearly all", "almost fully")
    return f"{area} is {adverb} {noun.text}"


def _is_largest(d: Draft) -> str | None:
    if d.facts.lead < DOMINANT_TOLD or len(d.facts.ranked) < 2:
        return None
    noun, area = d.noun(d.facts.ranked[0]), d.area()
    verb = noun.agree("is", "are")
    return d.pick(
        (
            f"{noun.text} {verb} the most extensive {d.pick(KINDS)} in {area}",
            f"{noun.text} {verb} the largest {d.pick(KINDS)} in {area}",
            f"{noun.text} {noun.agree('covers', 'cover')} more of {area} than any other class",
            f"{noun.text} {noun.agree('makes', 'make')} up the largest share of {area}",
            f"no other {d.pick(KINDS)} takes up more of {area} than {noun.text}",
        )
    )


def _headline(d: Draft) -> str | None:
    facts = d.of(d.facts.ranked[0])
    noun = d.noun(facts.label)
    options = []
    if _is_dominating(facts, d.facts.lead):
        options.append(f"{d.headline()} dominated by {noun.text}")
    if 0.6 <= facts.share < 0.93:
        options.append(f"{d.headline()} of {d.pick(('mostly', 'mainly'))} {noun.text}")
        options.append(f"{d.pick(('mostly', 'mainly'))} {noun.text}")
    if facts.share >= 0.93:
        options.append(f"{d.headline()} of almost nothing but {noun.text}")
        options.append(f"almost nothing but {noun.text}")
    return Fragment(d.pick(options)) if options else None


def _is_dominating(facts: ClassFacts, lead: float) -> bool:
    """Whether the strong word "dominates" fits: more than merely the largest."""
    return facts.share >= 0.5 or (facts.share >= 0.4 and lead >= 0.12)


# ---------------------------------------------------------------- heads of a uniform scene


def everything(d: Draft) -> str:
    facts = d.of(d.facts.ranked[0])
    noun, area = d.noun(facts.label), d.area()
    verb = noun.agree(*d.pick(COVER))
    reaches = noun.agree(*d.pick((("stretches", "stretch"), ("reaches", "reach"))))
    is_all = facts.share == 1.0
    wholes = [f"virtually all of {area}", f"practically all of {area}"]
    if is_all:
        wholes = [f"all of {area}", *(area.replace("the ", f"the {w} ") for w in _WHOLE)]
    whole = d.pick(wholes)
    almost = "" if is_all else "almost "
    article = "an unbroken" if is_all else "an almost unbroken"
    options = [
        f"{noun.text} {verb} {whole}",
        f"{noun.text} {verb} {whole}",
        f"{whole} is covered by {noun.text}",
        f"{noun.text} {reaches} across {whole}",
        f"{area} is {almost}{d.pick(('entirely', 'uniformly', 'completely'))} covered by "
        f"{noun.text}",
        Fragment(f"{d.headline()} {almost}entirely covered by {noun.text}"),
        Fragment(f"{article} {d.pick(('expanse', 'stretch', 'spread'))} of {noun.text}"),
    ]
    if is_all:
        options += [
            f"nothing but {noun.text} is {d.pick(SEEN)}",
            f"{area} shows nothing but {noun.text}",
            f"{noun.text} {noun.agree('is', 'are')} the only class in {area}",
        ]
    return d.pick(options)


# ---------------------------------------------------------------- heads without a dominant class


def _similar(d: Draft) -> str | None:
    a, b = d.facts.ranked[:2]
    if d.of(a).share - d.of(b).share > SIMILAR or d.of(b).share < 0.2:
        return None
    pair = listed([d.noun(label).text for label in d.shuffled((a, b))])
    area = d.area()
    return d.pick(
        (
            f"{pair} cover similar parts of {area}",
            f"{pair} take up similar shares of {area}",
            f"{pair} cover {area} in nearly equal parts",
            f"{pair} are about equally extensive",
        )
    )


def _together(d: Draft) -> str | None:
    a, b = d.facts.ranked[:2]
    words = amount_words(d.of(a).share + d.of(b).share)
    if not words or d.of(b).share < MIX_LEAST:
        return None
    pair = listed([d.noun(a).text, d.noun(b).text])
    verb = d.pick(("cover", "make up", "take up", "account for"))
    return d.pick(
        (
            f"{pair} together {verb} {d.pick(words)} of {d.area()}",
            f"together, {pair} {verb} {d.pick(words)} of {d.area()}",
        )
    )


def _mix(d: Draft) -> str | None:
    labels = [label for label in d.facts.ranked[:3] if d.of(label).share >= MIX_LEAST]
    told = sum(d.of(label).share for label in labels)
    mixture = d.facts.mixture
    if len(labels) < 2 or told < 0.65 or mixture is None:
        return None
    is_told = told >= TEXTURE_TOLD and d.facts.known >= 1 - UNKNOWN_TOLD
    names = listed([d.noun(label).text for label in labels])
    area = d.area()
    options = [f"{names} share {area}", f"{area} combines {names}"]
    if mixture.is_fine and is_told:
        # The grain is news: it is always told.
        options = [
            f"{area} is a fine mix of {names}",
            f"{area} is a fine-grained mosaic of {names}",
            f"{names} are finely mixed across {area}",
            f"{names} alternate over short distances",
            Fragment(f"a fine mixture of {names}"),
        ]
    elif mixture.is_apart and is_told:
        options.append(f"{names} share {area} but hardly mix")
    elif mixture.mixing >= MIXING_LEAST:
        kind = d.pick(("a mix", "a mixture", "a mosaic", "a patchwork"))
        options += [f"{area} is {kind} of {names}", Fragment(f"{kind} of {names}")]
    if d.of(labels[0]).share < 0.45 and not mixture.is_fine:
        options.append(f"no single class dominates {area}, which combines {names}")
    return d.pick(options)


def _slightly(d: Draft) -> str | None:
    a, b = d.facts.ranked[:2]
    if not 0.012 <= d.facts.lead <= 0.07 or d.of(b).share < MIX_LEAST:
        return None
    first, second = d.noun(a), d.noun(b)
    return d.pick(
        (
            f"{first.text} {first.agree('covers', 'cover')} slightly more of {d.area()} "
            f"than {second.text}",
            f"{first.text} {first.agree('is', 'are')} only slightly more extensive than "
            f"{second.text}",
            f"{first.text} {first.agree('covers', 'cover')} a little more of {d.area()} "
            f"than {second.text}",
        )
    )


def _halves(d: Draft) -> str | None:
    found = {half.region: half for half in d.facts.halves}
    pairs = [
        (found[a], found[b])
        for a, b in _OPPOSITE
        if a in found and b in found and found[a].label != found[b].label
    ]
    if not pairs:
        return None
    one, other = d.shuffled(d.pick(pairs))
    if d.facts.dominant not in (None, one.label, other.label):
        return None
    adverb = d.pick(MAINLY)
    first, second = d.noun(one.label).text, d.noun(other.label).text
    return d.pick(
        (
            f"{one.words} is {adverb} {first}, {other.words} {adverb} {second}",
            f"{one.words} is {adverb} {first} and {other.words} {adverb} {second}",
            f"while {one.words} is {adverb} {first}, {second} "
            f"{d.noun(other.label).agree('prevails', 'prevail')} in {other.words}",
        )
    )


def no_class(d: Draft) -> str:
    area = d.pick(LANDSCAPES if d.facts.compass else PICTURES)
    if d.facts.known > 0:
        return d.pick(
            (
                f"{area} is shared by many classes, none of them large",
                f"many classes share {area}, and none of them is large",
                f"no class takes up more than a tiny part of {area}",
            )
        )
    return d.pick(
        (
            f"nothing in {area} is labelled",
            f"{area} carries no labels",
            f"no class is known for {area}",
            f"{area} is unlabelled throughout",
            f"the classes of {area} are not known",
        )
    )


DOMINANT_HEADS: Final[tuple[Rule, ...]] = (
    _cover_amount, _cover_amount, _amount_is, _dominates, _is_mostly, _is_largest, _headline,
    _halves,
)  # fmt: skip
"""Rules for a scene with a dominant class."""
MIXED_HEADS: Final[tuple[Rule, ...]] = (
    _cover_amount, _is_largest, _similar, _together, _mix, _mix, _slightly, _halves,
)  # fmt: skip
"""Rules for a scene without one."""
