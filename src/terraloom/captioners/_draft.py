"""A caption while it is written: what was told, how classes are called, and the common words.

A rule of the grammar is a function from a draft to words, or None where the facts do not license
it; rules never look at pixels.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from terraloom.captioners._nouns import Noun
from terraloom.facts import SLIM, UNKNOWN_TOLD, ClassFacts, Facts
from terraloom.shapes import Corridor

_T = TypeVar("_T")

LANDSCAPES: Final = (
    "the scene", "the area", "the landscape", "the image", "the view", "the region", "the tile",
)  # fmt: skip
PICTURES: Final = ("the scene", "the area", "the image", "the picture", "the frame", "the view")
_MAPPED: Final = ("the mapped area", "the labelled area", "the labelled part")
_LANDSCAPE_HEADLINES: Final = ("a scene", "a landscape", "an area", "a view", "a region")
_PICTURE_HEADLINES: Final = ("a scene", "an image", "an area", "a view", "a picture")
_MAPPED_HEADLINES: Final = ("a mapped area", "a labelled area")
_LANDSCAPE_OPENERS: Final = (
    "seen from above", "here", "overall", "from above", "on the whole", "in this aerial view",
)  # fmt: skip
_PICTURE_OPENERS: Final = ("here", "overall", "on the whole", "in this view")

# Verbs that take an amount of the area as their object, singular and plural.
COVER: Final = (
    ("covers", "cover"), ("occupies", "occupy"), ("takes up", "take up"),
    ("makes up", "make up"), ("accounts for", "account for"), ("extends over", "extend over"),
    ("spreads over", "spread over"),
)  # fmt: skip
COVER_LITTLE: Final = COVER[:5]
LIE: Final = (
    ("lies", "lie"), ("is found", "are found"), ("appears", "appear"), ("occurs", "occur"),
    ("is located", "are located"),
)  # fmt: skip
MAINLY: Final = ("mainly", "mostly", "chiefly", "largely")
SEEN: Final = ("visible", "present", "to be seen", "found here")
KINDS: Final = ("class", "land cover", "cover type")
"""What classes are of."""
PATCHES_LEAST: Final = 3
"""Least number of patches of what is told to lie in patches."""
LARGEST_LEAD: Final = 0.02
"""Least step between two shares that are told in order."""
SMALL: Final = 0.06
"""Up to this share a class is never told without a word for its smallness, where it is placed."""


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
        if self.of(label).share > SMALL:
            return self.noun(label)
        return Noun(self.small(label), plural=True)

    def small(self, label: int) -> str:
        """A class as something small, in the plural: "small areas of grass", "some buildings"."""
        noun = self.noun(label)
        is_many = self.of(label).patches >= PATCHES_LEAST
        # "Small areas of buildings" is nothing that anybody says.
        if not noun.lies_in_patches or (noun.grows and not is_many):
            return f"some {noun.text}"
        measures = ("areas", "patches") if is_many else ("areas",)
        return f"small {'patches' if noun.grows else self.pick(measures)} of {noun.of_it}"

    @property
    def has_area(self) -> bool:
        """Whether a name for the whole stands in the caption, so that "of it" can be said."""
        return bool(self._areas)

    def untold(self) -> list[int]:
        """Present classes that are not named yet, the largest first."""
        return [label for label in self.facts.ranked if label not in self.told]

    def area(self) -> str:
        """A name for the whole; named again, a plain other one, but one name for a mapped part."""
        names: tuple[str, ...] = LANDSCAPES if self.facts.compass else PICTURES
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
        return place.words if place.is_firm else f"{self.pick(MAINLY)} {place.words}"

    def strip(self, corridor: Corridor, *, is_told: bool) -> str:
        """A name for a corridor by its form; plain where its verb tells the form (`is_told`)."""
        if corridor.is_winding and not is_told:
            return self.pick(("a winding strip", "a winding band", "a meandering strip"))
        if corridor.is_straight:
            return self.pick(("a straight strip", "a narrow, straight band", "a narrow strip"))
        return self.pick(("a narrow strip", "a thin band", "a narrow band", "a slender strip"))

    def cover(self, label: int) -> str:
        """Class and verb before an amount of the area: "trees take up"."""
        noun = self.noun(label)
        return f"{noun.text} {noun.agree(*self.pick(self.cover_verbs(label)))}"

    def cover_verbs(self, label: int) -> tuple[tuple[str, str], ...]:
        """Verbs that suit the size of a class."""
        return COVER if self.of(label).share >= 0.2 else COVER_LITTLE


Rule = Callable[[Draft], str | None]


def listed(items: Sequence[str], conjunction: str = "and") -> str:
    """Items as a phrase: "a", "a and b", "a, b and c"."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


def pieces(facts: ClassFacts) -> tuple[str, ...]:
    """Names for the one patch that a class forms, by its form."""
    if facts.is_compact:
        return ("a single compact patch", "one compact block", "a compact patch")
    if facts.is_elongated:
        return ("a single elongated patch", "an elongated patch", "one long patch")
    if facts.compactness >= SLIM:
        return ("a single block", "one continuous patch", "one connected patch")
    return ("one connected patch", "a single connected area", "a single irregular patch")
