"""Texts that are wrong on purpose: what a score of image and text must tell from the right one."""

import re
from collections.abc import Sequence
from typing import Final

from terraloom.classes import ClassTable
from terraloom.naming import named_spans
from terraloom.seeds import generator_at

_SWAPS: Final = (
    ("north", "south"), ("east", "west"), ("northern", "southern"), ("eastern", "western"),
    ("top", "bottom"), ("left", "right"),
)  # fmt: skip
_OPPOSITE: Final = {a: b for pair in _SWAPS for a, b in (pair, pair[::-1])}
_PLACE: Final = re.compile(rf"\b({'|'.join(_OPPOSITE)})\b", re.IGNORECASE)


def hard_negative(text: str, classes: ClassTable, *, seed: int) -> str | None:
    """The same sentence about other land: every class exchanged for another, else every place.

    "Trees cover most of it, water lies in the north" may become "Crops cover most of it, bare
    ground lies in the north". All words but the classes' stay, so a score that looks at style and
    length alone cannot tell the two apart.

    Args:
        text: the caption.
        classes: whose names and synonyms are exchanged; a text without any has its places turned
            (north and south, left and right).
        seed: of the exchange; equal texts give equal negatives.

    Returns:
        None where the text names neither class nor place.
    """
    spans = named_spans(text, classes)
    if not spans or len(classes) < 2:
        turned = _PLACE.sub(lambda match: _like(match[0], _OPPOSITE[match[0].lower()]), text)
        return turned if turned != text else None
    random = generator_at(seed, "hard negative", text)
    order = random.permutation(len(classes)).tolist()
    # A rotation of a random order has no fixed point: no class stays what it is.
    other = {label: order[(order.index(label) + 1) % len(order)] for label in order}
    pieces, at = [], 0
    for start, stop, label in spans:
        pieces += [text[at:start], _like(text[start:stop], _phrase(classes, other[label]))]
        at = stop
    return "".join([*pieces, text[at:]])


def _phrase(classes: ClassTable, label: int) -> str:
    land = classes.classes[label]
    plain = [p for p in land.synonyms if not re.match(r"(?:an?|the)\s", p)]
    return (plain or [land.name.replace("_", " ")])[0]


def _like(model: str, text: str) -> str:
    """The text with a capital where the model has one."""
    return text[:1].upper() + text[1:] if model[:1].isupper() else text


def dealt_to_others(texts: Sequence[Sequence[str]], *, seed: int) -> list[list[str]]:
    """Captions of each sample exchanged for those of another one; of a single sample none.

    A seeded rotation of a random order: nobody keeps their own.
    """
    if len(texts) < 2:
        return [[] for _ in texts]
    order = generator_at(seed, "dealt", len(texts)).permutation(len(texts)).tolist()
    given: list[list[str]] = [[] for _ in texts]
    for place, sample in enumerate(order):
        given[sample] = list(texts[order[(place + 1) % len(order)]])
    return given
