"""Noun phrases for the classes of any table: which to use, and whether they are plural."""

import re
from dataclasses import dataclass
from typing import Final

from terraloom.classes import ClassTable, LandClass

_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Names that describe land but do not name it; "land" is added.
_ADJECTIVES: Final = frozenset((
    "agricultural", "arable", "bare", "barren", "built", "built-up", "builtup", "burned", "burnt",
    "commercial", "cultivated", "developed", "dry", "fallow", "flooded", "forested", "impervious",
    "industrial", "irrigated", "paved", "residential", "rural", "undeveloped", "urban",
    "vegetated", "wet", "wooded",
))  # fmt: skip
# Names of single things; a map shows many of them.
_COUNTABLE: Final = frozenset((
    "building", "bush", "car", "crop", "dune", "field", "garden", "glacier", "greenhouse",
    "house", "lake", "mangrove", "marsh", "meadow", "orchard", "park", "pond", "river", "road",
    "rock", "roof", "settlement", "ship", "shrub", "tree", "vehicle", "vineyard", "wetland",
))  # fmt: skip
_PLANTS: Final = frozenset(("trees", "shrubs", "bushes", "crops", "mangroves"))
_SINGULAR_IN_S: Final = frozenset(("canvas", "gas", "chaos", "atlas", "biomass", "lens"))
_PLURAL: Final = frozenset(("people", "cattle", "cells", "nuclei", "bacteria"))
_ARTICLE: Final = re.compile(r"^(a|an|the)\s+")


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun phrase without article."""

    text: str
    plural: bool

    @property
    def grows(self) -> bool:
        """Whether it is a plant, which stands in patches."""
        return self.text.split()[-1] in _PLANTS

    @property
    def of_it(self) -> str:
        """The phrase after "of": "patches of meadow", though meadows cover things."""
        return re.sub(r"\bmeadows$", "meadow", self.text)

    @property
    def lies_in_patches(self) -> bool:
        """Whether "patches of it" is what people say; of buildings and roads it is not."""
        return not self.plural or self.grows or self.of_it != self.text or " and " in self.text

    def agree(self, singular: str, plural: str) -> str:
        """The verb form that fits."""
        return plural if self.plural else singular


def is_plural(phrase: str) -> bool:
    """Whether a noun phrase takes a plural verb, judged from its head noun's ending.

    "trees" and "moss and lichen" are plural; "grass", "tree cover" and "bare soil" are not.
    """
    if " and " in phrase:
        return True
    head = re.split(r" of | with | in ", phrase, maxsplit=1)[0].split()[-1].lower()
    if head in _PLURAL:
        return True
    return head.endswith("s") and not head.endswith(("ss", "us", "is")) and (
        head not in _SINGULAR_IN_S
    )  # fmt: skip


def pluralise(word: str) -> str:
    """Regular English plural of a phrase's last word."""
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(s|x|z|ch|sh)$", word) else "s")


def _norm(phrase: str) -> str:
    """Plain lower-case words: no underscores, no digits, no capital that is not an acronym."""
    words = re.sub(r"\d", lambda digit: f" {_DIGITS[int(digit[0])]} ", phrase.replace("_", " "))
    return " ".join(w if w[1:] != w[1:].lower() else w.lower() for w in words.split())


def _noun(phrase: str) -> Noun:
    text = _norm(phrase)
    last = text.split()[-1]
    if text in _ADJECTIVES:
        return Noun(f"{text} land", plural=False)
    if last in _COUNTABLE:
        return Noun(pluralise(text), plural=True)
    return Noun(text, is_plural(text))


def class_nouns(land_class: LandClass) -> tuple[Noun, ...]:
    """Noun phrases for one class: its synonyms, or its name where it has none.

    Synonyms with an article ("a water body") count things and do not fit amounts, so they are
    left to other writers unless nothing else is there. Never empty.
    """
    phrases = [p for p in land_class.synonyms if not _ARTICLE.match(p.lower())]
    return tuple(dict.fromkeys(_noun(p) for p in (phrases or (land_class.name,)) if p.strip()))


def table_nouns(classes: ClassTable) -> tuple[tuple[Noun, ...], ...]:
    """Noun phrases by label; a phrase that two classes claim is used for neither."""
    nouns = [class_nouns(c) for c in classes.classes]
    texts = [{n.text for n in own} for own in nouns]
    result = []
    for label, own in enumerate(nouns):
        others = set().union(*(t for other, t in enumerate(texts) if other != label))
        own_only = tuple(n for n in own if n.text not in others)
        result.append(own_only or (_noun(classes.names[label]),))
    return tuple(result)
