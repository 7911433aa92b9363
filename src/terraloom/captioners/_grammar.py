"""A grammar over facts: one or two sentences whose every clause is licensed by the mask.

A caption is a head (what the scene mostly is), which may carry a tail (other classes, as a list
or a clause), and may be followed by a detail: place, shape, neighbours, what is left, what is
absent. A rule is a function from a draft to words, or None where the facts do not license it;
rules never look at pixels, and no rule words a claim outside the safe bands of `terraloom.facts`.
"""

import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeVar

from terraloom.captioners._nouns import Noun
from terraloom.facts import UNKNOWN_TOLD, ClassFacts, Facts, Region, amount_words

_T = TypeVar("_T")

Plan = Literal["tail", "detail", "both"]
"""What follows the head: more in the same sentence, a second sentence, or both."""

_LANDSCAPES: Final = (
    "the scene", "the area", "the landscape", "the image", "the view", "the region", "the tile",
)  # fmt: skip
_PICTURES: Final = ("the scene", "the area", "the image", "the picture", "the frame", "the view")
_MAPPED: Final = ("the mapped area", "the labelled area", "the labelled part")
_LANDSCAPE_HEADLINES: Final = ("a scene", "a landscape", "an area", "a view", "a region")
_PICTURE_HEADLINES: Final = ("a scene", "an image", "an area", "a view", "a picture")
_MAPPED_HEADLINES: Final = ("a mapped area", "a labelled area")
_LANDSCAPE_OPENERS: Final = (
    "seen from above", "here", "overall", "from above", "on the whole", "in this aerial view",
)  # fmt: skip
_PICTURE_OPENERS: Final = ("here", "overall", "on the whole", "in this view")

# Verbs that take an amount of the area as their object, singular and plural.
_COVER: Final = (
    ("covers", "cover"), ("occupies", "occupy"), ("takes up", "take up"),
    ("makes up", "make up"), ("accounts for", "account for"), ("extends over", "extend over"),
    ("spreads over", "spread over"),
)  # fmt: skip
_COVER_LITTLE: Final = _COVER[:5]
_LIE: Final = (
    ("lies", "lie"), ("is found", "are found"), ("appears", "appear"), ("occurs", "occur"),
    ("is located", "are located"),
)  # fmt: skip
_MAINLY: Final = ("mainly", "mostly", "chiefly", "largely")
_WHOLE: Final = ("whole", "entire")
_REST: Final = ("the rest", "the remainder", "what remains")
_SEEN: Final = ("visible", "present", "to be seen", "found here")

DOMINANT_TOLD: Final = 0.04
"""Least lead of a class that is called the largest outright."""
LARGEST_LEAD: Final = 0.02
"""Least step between two shares that are told in order."""
SIMILAR: Final = 0.04
"""Largest difference of two shares that are called similar."""
SMALL: Final = 0.06
"""Up to this share a class is never told without a word for its smallness, where it is placed."""
TRACES: Final = 0.03
"""Up to this share a class in a list is never a bare noun."""
MIX_LEAST: Final = 0.08
"""Least share of a class that a mix is said to be of."""
_MAX_REDRAWS: Final = 12
_MAX_FAULT: Final = 10**6

_OPPOSITE: Final[tuple[tuple[Region, Region], ...]] = (("north", "south"), ("west", "east"))
_WORD: Final = re.compile(r"[a-z]{4,}")
_STEM_LETTERS: Final = 4
# Stems that a parallel construction may repeat: "in the north-west ... in the north-east".
_REPEATABLE: Final = frozenset(
    ("alon", "east", "edge", "from", "half", "nort", "sout", "that", "west", "with")
)


class Fragment(str):
    """A head without a verb: it takes a list as its tail, and no opener."""

    __slots__ = ()


class Draft:
    """State of one caption while it is written."""

    def __init__(self, facts: Facts, nouns: Sequence[Sequence[Noun]], rng: random.Random) -> None:
        """A draft on which nothing is written yet; `nouns` are by label."""
        self.facts = facts
        self.told: list[int] = []  # labels named so far, in order
        self._random = rng.random
        self._nouns = nouns
        self._chosen: dict[int, Noun] = {}
        self._areas: list[str] = []

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def pick(self, options: Sequence[_T]) -> _T:
        """One of the options, each as likely."""
        return options[int(self._random() * len(options))]

    def shuffled(self, options: Sequence[_T]) -> list[_T]:
        """The options in random order."""
        return sorted(options, key=lambda _: self._random())

    def mark(self) -> tuple[int, int]:
        """Where the draft stands, for `rewind`."""
        return len(self.told), len(self._areas)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forgets what was told since the mark."""
        del self.told[mark[0] :]
        del self._areas[mark[1] :]

    def of(self, label: int) -> ClassFacts:
        """Facts of one class."""
        return self.facts.classes[label]

    def noun(self, label: int) -> Noun:
        """The one noun phrase for a class in this caption; marks the class as told."""
        if label not in self.told:
            self.told.append(label)
        if label not in self._chosen:
            self._chosen[label] = self.pick(self._nouns[label])
        return self._chosen[label]

    def sized(self, label: int) -> Noun:
        """The class's noun, which says so where the class is small.

        "Settlement lies in the north" of one pixel in a hundred would promise a town.
        """
        noun = self.noun(label)
        if self.of(label).share > SMALL:
            return noun
        if noun.plural and " and " not in noun.text and self.chance(0.5):
            return Noun(f"some {noun.text}", plural=True)
        return Noun(f"small areas of {noun.text}", plural=True)

    def untold(self) -> list[int]:
        """Present classes that are not named yet, the largest first."""
        return [label for label in self.facts.ranked if label not in self.told]

    def area(self) -> str:
        """A name for the whole; named again, a plain other one, but one name for a mapped part."""
        names: tuple[str, ...] = _LANDSCAPES if self.facts.compass else _PICTURES
        if self.facts.known < 1 - UNKNOWN_TOLD:
            # Two names for what is mapped would seem to be two parts of it.
            names = tuple(self._areas[:1]) or _MAPPED
        elif self._areas:
            names = tuple(name for name in names[:2] if name != self._areas[-1])
        self._areas.append(self.pick(names))
        return self._areas[-1]

    def opener(self) -> str:
        """An adverbial that a full sentence may start with."""
        return self.pick(_LANDSCAPE_OPENERS if self.facts.compass else _PICTURE_OPENERS)

    def headline(self) -> str:
        """A noun phrase for the whole that a caption without a verb may start with."""
        if self.facts.known < 1 - UNKNOWN_TOLD:
            return self.pick(_MAPPED_HEADLINES)
        return self.pick(_LANDSCAPE_HEADLINES if self.facts.compass else _PICTURE_HEADLINES)

    def at(self, label: int) -> str | None:
        """Where a class lies, with a hedge unless the place is firm."""
        place = self.of(label).place
        if place is None:
            return None
        return place.words if place.is_firm else f"{self.pick(_MAINLY)} {place.words}"

    def cover(self, label: int) -> str:
        """Class and verb before an amount of the area: "trees take up"."""
        noun = self.noun(label)
        return f"{noun.text} {noun.agree(*self.pick(self.cover_verbs(label)))}"

    def cover_verbs(self, label: int) -> tuple[tuple[str, str], ...]:
        """Verbs that suit the size of a class."""
        return _COVER if self.of(label).share >= 0.2 else _COVER_LITTLE


Rule = Callable[[Draft], str | None]


def listed(items: Sequence[str], conjunction: str = "and") -> str:
    """Items as a phrase: "a", "a and b", "a, b and c"."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


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
    adverb = d.pick(_MAINLY)
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
            f"{noun.text} {verb} the most extensive class in {area}",
            f"{noun.text} {verb} the largest class in {area}",
            f"{noun.text} {noun.agree('covers', 'cover')} more of {area} than any other class",
            f"{noun.text} {noun.agree('makes', 'make')} up the largest share of {area}",
            f"no class takes up more of {area} than {noun.text}",
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


def _everything(d: Draft) -> str:
    facts = d.of(d.facts.ranked[0])
    noun, area = d.noun(facts.label), d.area()
    verb = noun.agree(*d.pick(_COVER))
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
            f"nothing but {noun.text} is {d.pick(_SEEN)}",
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
    if len(labels) < 2 or sum(d.of(label).share for label in labels) < 0.65:
        return None
    names = listed([d.noun(label).text for label in labels])
    kind = d.pick(("a mix", "a mixture", "a mosaic", "a patchwork"))
    area = d.area()
    options = [
        f"{area} is {kind} of {names}",
        Fragment(f"{kind} of {names}"),
        f"{names} share {area}",
        f"{area} combines {names}",
    ]
    if d.of(labels[0]).share < 0.45:
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
            f"{first.text} {first.agree('has', 'have')} a narrow lead over {second.text}",
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
    adverb = d.pick(_MAINLY)
    first, second = d.noun(one.label).text, d.noun(other.label).text
    return d.pick(
        (
            f"{one.words} is {adverb} {first}, {other.words} {adverb} {second}",
            f"{one.words} is {adverb} {first} and {other.words} {adverb} {second}",
            f"while {one.words} is {adverb} {first}, {second} "
            f"{d.noun(other.label).agree('prevails', 'prevail')} in {other.words}",
        )
    )


def _no_class(d: Draft) -> str:
    area = d.pick(_LANDSCAPES if d.facts.compass else _PICTURES)
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


# ---------------------------------------------------------------- tails: more in the sentence


def _item(d: Draft, label: int, *, alone: bool = False) -> str:
    """A class as a member of a list, with an article or a measure where its shape licenses one.

    Alone and without a place behind it, a bare noun would dangle: ", with crops".
    """
    facts, noun = d.of(label), d.noun(label)
    options = [noun.text]
    if facts.share <= 0.25:
        options.append(f"some {noun.text}" if noun.plural else f"areas of {noun.text}")
        if 3 <= facts.patches <= 6 and not facts.is_block:
            options.append(f"a few patches of {noun.text}")
        if facts.patches >= 20:
            options.append(f"many patches of {noun.text}")
        if facts.is_fragmented:
            options.append(f"scattered {noun.text if noun.plural else 'patches of ' + noun.text}")
        elif facts.patches >= 3:
            options.append(f"patches of {noun.text}")
        elif facts.patches == 1:
            options.append(f"a single patch of {noun.text}")
    elif facts.is_block:
        options.append(f"a large block of {noun.text}")
    if facts.share >= 0.2:
        options[0] = f"large areas of {noun.text}"
    if facts.share <= 0.08 and facts.patches >= 2:
        options.append(f"small areas of {noun.text}")
    if facts.share <= TRACES:
        options.append(f"traces of {noun.text}")
        alone = True
    if alone and len(options) > 1 and options[0] == noun.text:
        del options[0]
    return d.pick(options)


def _with_list(d: Draft) -> str | None:
    untold = [label for label in d.untold() if d.of(label).corridor is None]
    if not untold:
        return None
    count = min(len(untold), d.pick((1, 2, 2, 3)))
    # The large ones are worth more, but not always.
    labels = untold[:count] if d.chance(0.6) else d.shuffled(untold[: count + 1])[:count]
    items = [_item(d, label, alone=count == 1) for label in labels]
    # A measure told before a bare noun would seem to hold for both: "traces of roads and trees".
    bare = {d.noun(label).text for label in labels}
    items.sort(key=lambda item: item not in bare)
    return ", with " + listed(items)


def _with_places(d: Draft) -> str | None:
    # All members have a place: one without would seem to lie in its neighbour's.
    placed = [label for label in d.untold() if d.of(label).place is not None]
    if not placed:
        return None
    labels = placed[: d.pick((1, 2, 2, 3))]
    words = {d.of(label).place.words for label in labels}  # type: ignore[union-attr]
    if len(words) < len(labels):
        labels = labels[:1]
    return ", with " + listed([f"{_item(d, label)} {d.at(label)}" for label in labels])


def _with_corridor(d: Draft) -> str | None:
    found = [(x, c) for x in d.untold() if (c := d.of(x).corridor) is not None]
    if not found:
        return None
    label, corridor = found[0]
    strip = d.pick(("a narrow strip", "a thin band", "a narrow band"))
    return f", with {strip} of {d.noun(label).text} running {corridor.words}"


def _with_traces(d: Draft) -> str | None:
    untold = d.untold()
    if not untold or d.of(untold[0]).share > 0.06 or d.of(untold[0]).place is not None:
        return None
    names = listed([d.noun(label).text for label in untold[: d.pick((1, 2, 3))]])
    return d.pick((f", with only small areas of {names}", f" apart from small areas of {names}"))


def _while_amount(d: Draft) -> str | None:
    untold = d.untold()
    if not untold:
        return None
    label = d.pick(untold[:2])
    words = amount_words(d.of(label).share)
    if not words:
        return None
    link = d.pick((", while", ", whereas", ", and"))
    return f"{link} {d.cover(label)} {d.pick(words)}{d.pick(('', ' of it'))}"


def _while_place(d: Draft) -> str | None:
    placed = [x for x in d.untold() if d.of(x).place is not None]
    if not placed:
        return None
    label = d.pick(placed[:2])
    noun, link = d.sized(label), d.pick((", while", ", whereas", ", and"))
    return f"{link} {noun.text} {noun.agree(*d.pick(_LIE))} {d.at(label)}"


def _followed_by(d: Draft) -> str | None:
    ranked = d.facts.ranked
    if d.told != [ranked[0]] or len(ranked) < 2:
        return None
    shares = [d.of(label).share for label in ranked] + [0.0]
    steps = [a - b >= LARGEST_LEAD for a, b in pairwise(shares)]
    count = 2 if len(ranked) > 2 and all(steps[:3]) and d.chance(0.6) else 1
    if not all(steps[: count + 1]):
        return None
    names = [d.noun(label).text for label in ranked[1 : 1 + count]]
    return f", followed by {' and then '.join(names)}"


# ---------------------------------------------------------------- details: a second sentence


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
        f"{noun.text} {noun.agree(*d.pick(_LIE))} {where}",
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
    first, verb = d.sized(a), d.pick(_LIE)
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
        text += f", {d.pick(_MAINLY)} {place.words}"
    return text


def _detail_amounts(d: Draft) -> str | None:
    untold = d.untold()
    if len(untold) < 2:
        return None
    a, b = untold[:2]
    words = amount_words(d.of(a).share), amount_words(d.of(b).share)
    if not all(words):
        return None
    first, second = d.pick(words[0]), d.pick(words[1])
    if first.split()[-1] == second.split()[-1]:
        return None
    return f"{d.cover(a)} {first} of {d.area()} and {d.noun(b).text} {second}"


def _detail_corridor(d: Draft) -> str | None:
    found = [(x, c) for x in d.untold() if (c := d.of(x).corridor) is not None]
    if not found:
        return None
    label, corridor = d.pick(found)
    strip = d.pick(("a narrow strip", "a thin band", "a narrow band", "a slender strip"))
    verb = d.pick(("runs", "leads", "stretches", "passes"))
    return f"{strip} of {d.noun(label).text} {verb} {corridor.words}"


def _detail_shape(d: Draft) -> str | None:
    shaped = [x for x in d.untold() if d.of(x).is_fragmented or d.of(x).is_block]
    if not shaped:
        return None
    label = d.pick(shaped[:3])
    noun, facts = d.noun(label), d.of(label)
    where = f" {d.at(label)}" if facts.place is not None and d.chance(0.5) else ""
    if facts.is_fragmented:
        return d.pick(
            (
                f"{noun.text} {noun.agree('occurs', 'occur')} in scattered patches{where}",
                f"{noun.text} {noun.agree('is', 'are')} split into many separate patches{where}",
                f"{noun.text} {noun.agree('is', 'are')} scattered in many patches{where}",
                f"scattered patches of {noun.text} {d.pick(_LIE[:1] + _LIE[2:4])[1]}{where}"
                if where
                else f"scattered patches of {noun.text} {d.pick(('appear', 'occur'))} as well",
            )
        )
    return d.pick(
        (
            f"{noun.text} {noun.agree('forms', 'form')} one continuous patch{where}",
            f"{noun.text} {noun.agree('lies', 'lie')} in a single block{where}",
            f"one connected patch of {noun.text} {d.pick(('lies', 'is found'))}{where}"
            if where
            else f"{noun.text} {noun.agree('forms', 'form')} one connected patch",
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
        options.append(f"{the} {noun.agree('is', 'are')} split into many separate patches")
    if facts.is_block:
        options.append(f"{the} {noun.agree('forms', 'form')} one continuous block")
        options.append(f"{the} {noun.agree('forms', 'form')} a single connected area")
    if facts.place is not None and facts.place.kind != "throughout":
        options.append(f"{the} {noun.agree(*d.pick(_LIE))} {d.at(facts.label)}")
    return d.pick(options) if options else None


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
    adverb = d.pick(_MAINLY)
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
    names = listed([d.noun(label).text for label in d.shuffled(small)[: d.pick((1, 2, 2))]])
    return d.pick(
        (
            f"small areas of {names} are also {d.pick(('present', 'visible'))}",
            f"small areas of {names} {d.pick(('appear', 'occur'))} as well",
            f"there are also small areas of {names}",
        )
    )


def _detail_half(d: Draft) -> str | None:
    found = [half for half in d.facts.halves if half.label not in d.told]
    if not found:
        return None
    half = d.pick(found)
    adverb = "almost entirely" if half.share >= 0.95 else d.pick(_MAINLY)
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
        f"no {names} {is_} {d.pick(_SEEN)}",
        f"there {nouns[0].agree('is', 'are')} no {names}",
        f"{d.area()} is free of {names}",
        f"{d.area()} is without {names}",
        f"{d.area()} has no {names}",
        f"{d.area()} contains no {names}",
    ]
    if len(nouns) == 2:
        options.append(f"neither {nouns[0].text} nor {nouns[1].text} {is_} {d.pick(_SEEN)}")
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


# ---------------------------------------------------------------- whole captions

_DOMINANT_HEADS: Final[tuple[Rule, ...]] = (
    _cover_amount, _cover_amount, _amount_is, _dominates, _is_mostly, _is_largest, _headline,
    _halves,
)  # fmt: skip
_MIXED_HEADS: Final[tuple[Rule, ...]] = (
    _cover_amount, _is_largest, _similar, _together, _mix, _mix, _slightly, _halves,
)  # fmt: skip
_TAILS: Final[tuple[Rule, ...]] = (
    _with_list, _with_places, _with_corridor, _with_corridor, _while_amount, _while_place,
    _followed_by, _with_traces,
)  # fmt: skip
_CLAUSE_TAILS: Final[tuple[Rule, ...]] = (_while_amount, _while_place)
_LIST_TAILS: Final[tuple[Rule, ...]] = (
    _with_list, _with_places, _with_corridor, _with_corridor, _with_traces,
)  # fmt: skip
_DETAILS: Final[tuple[Rule, ...]] = (
    _detail_place, _detail_places, _detail_amount, _detail_amounts, _detail_corridor,
    _detail_corridor, _detail_shape, _detail_of_only, _detail_neighbour, _detail_rest,
    _detail_next, _detail_minor, _detail_half, _detail_absent, _detail_unknown,
)  # fmt: skip


def _apply(d: Draft, rules: Sequence[Rule]) -> str | None:
    """The first rule, in random order, that the facts license; a failed one leaves no trace."""
    for rule in d.shuffled(rules):
        mark = d.mark()
        text = rule(d)
        if text is not None:
            return text
        d.rewind(mark)
    return None


def _head(d: Draft) -> str:
    facts = d.facts
    if not facts.ranked:
        return _no_class(d)
    if d.of(facts.ranked[0]).share >= 0.995:
        return _everything(d)
    if facts.dominant is not None:
        return _apply(d, _DOMINANT_HEADS) or _everything(d)
    return _apply(d, _MIXED_HEADS) or Fragment(_item(d, facts.ranked[0]))


def _draft_caption(d: Draft, plan: Plan, min_words: int) -> str:
    head = _head(d)
    sentence, tail = str(head), None
    if not d.facts.ranked:
        return _as_sentence(sentence)
    if plan != "detail" and not head.startswith("while "):
        rules = _LIST_TAILS if isinstance(head, Fragment) else _TAILS
        # "No class takes up more than trees, followed by crops" would lean on the wrong noun.
        tail = _apply(d, _CLAUSE_TAILS if head.startswith("no class ") else rules)
        sentence += tail or ""
    if not isinstance(head, Fragment) and "," not in head and d.chance(0.12):
        opener = d.opener()
        # "In this view, the image ..." would frame the picture twice.
        if not ("view" in opener and re.search(r"\b(image|view|picture|frame|tile)\b", sentence)):
            sentence = f"{opener}, {sentence}"
    text = _as_sentence(sentence)
    # A bare head, or one with a bare noun behind it, says too little.
    if plan != "tail" or tail is None or sentence.count(" ") + 1 < min_words:
        detail = _apply(d, _DETAILS)
        if detail is not None:
            text += " " + _as_sentence(detail)
    return text


def _as_sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def repeats_a_word(text: str) -> bool:
    """Whether one sentence uses the same content word, or a form of it, twice."""
    for sentence in text.lower().split(". "):
        stems = [word[:_STEM_LETTERS] for word in _WORD.findall(sentence)]
        stems = [stem for stem in stems if stem not in _REPEATABLE]
        if len(set(stems)) < len(stems):
            return True
    return False


def write_caption(
    facts: Facts,
    nouns: Sequence[Sequence[Noun]],
    rng: random.Random,
    *,
    plan: Plan,
    min_words: int,
    max_words: int,
) -> str:
    """One caption of one or two sentences, without digits.

    Drawn anew while a sentence repeats a word or the caption is too short or too long. After a
    dozen draws the best stands: some scenes have little to tell, and some class tables give two
    classes the same head noun.

    Args:
        facts: of the sample's mask.
        nouns: noun phrases by label, from `table_nouns`.
        rng: the caption's own stream of random numbers; read on from where it stands.
        plan: what follows the head, where the facts license anything.
        min_words: kept where the facts allow.
        max_words: kept where the class names allow.
    """
    best, best_fault = "", _MAX_FAULT
    for _ in range(_MAX_REDRAWS):
        text = _draft_caption(Draft(facts, nouns, rng), plan, min_words)
        words = text.count(" ") + 1
        # A repeated word is worse than a caption a few words too short.
        fault = max(words - max_words, min_words - words, 0) + 5 * repeats_a_word(text)
        if not fault or not facts.ranked:
            return text
        if fault < best_fault:
            best, best_fault = text, fault
    return best
