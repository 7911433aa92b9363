"""Places in captions: how they are read, and how much of a class lies in them.

Regions are named by compass whatever the caption's words: the top row is north.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

_VERTICAL: Final = {
    "north": "north", "northern": "north", "top": "north", "upper": "north",
    "uppermost": "north", "south": "south", "southern": "south", "bottom": "south",
    "lower": "south", "lowermost": "south",
}  # fmt: skip
_HORIZONTAL: Final = {
    "west": "west", "western": "west", "left": "west", "leftmost": "west", "left-hand": "west",
    "east": "east", "eastern": "east", "right": "east", "rightmost": "east", "right-hand": "east",
}  # fmt: skip
_CENTRE: Final = "centre|center|central|middle"
_V: Final = "|".join(sorted(_VERTICAL, key=len, reverse=True))
_H: Final = "|".join(sorted(_HORIZONTAL, key=len, reverse=True))
_REGION: Final = rf"(?P<v>{_V})?(?:[\s-]?(?P<h>{_H}))?(?P<c>[\s-]?(?:{_CENTRE}))?"
_PART: Final = (
    r"(?:[\s-]+(?P<part>corner|part|portion|half|edge|side|section|quadrant|third|margin|border|"
    r"area|region|end|zone|sector|reaches|boundary))?"
)
_HINT: Final = re.compile(
    r"north|south|west|east|top|bottom|upper|lower|left|right|cent|middle|throughout|everywhere"
)
PLACE: Final = re.compile(
    rf"(?P<course>\bfrom\s+(?:the\s+)?(?P<a>[a-z-]+(?:\s(?:left|right))?)\s+(?:side\s+|edge\s+)?"
    rf"to\s+(?:the\s+)?(?P<b>[a-z-]+(?:\s(?:left|right))?)\b)"
    rf"|(?P<everywhere>\bthroughout(?:\s+(?:the|this)\s+(?:whole\s+|entire\s+)?[a-z]+)?|"
    rf"\beverywhere)"
    rf"|(?P<prep>\b(?:in|at|on|along|near|toward|towards|across|over|within|occupying|through|"
    rf"confined to|limited to|restricted to|to)\s+)?"
    rf"(?:(?P<the>the|its)\s+)?(?:(?:far|extreme|very|entire|whole)\s+)?"
    rf"(?<![\w-]){_REGION}(?![\w-]){_PART}"
)
"""A place in lower-case text; may match nothing but an empty region, which `place_value` drops."""


def has_place(text: str) -> bool:
    """Whether `PLACE` can say anything about lower-case text; much cheaper."""
    return _HINT.search(text) is not None


def _direction(word: str) -> str | None:
    parts = re.split(r"[\s-]+", re.sub(r"^(north|south)(?=west|east)", r"\1-", word))
    v = next((_VERTICAL[p] for p in parts if p in _VERTICAL), None)
    h = next((_HORIZONTAL[p] for p in parts if p in _HORIZONTAL), None)
    if any(p not in _VERTICAL and p not in _HORIZONTAL for p in parts):
        return None
    return "-".join(filter(None, (v, h))) or None


def place_value(match: re.Match[str]) -> tuple[str, str] | None:
    """(symbol, value) of a match of `PLACE`: "p" a place, "h" a half as a subject; None for none.

    A direction without a preposition is a place only as a named part ("upper left corner").
    """
    if match["course"]:
        a, b = _direction(match["a"]), _direction(match["b"])
        return ("p", course(a, b)) if a and b and a != b else None
    if match["everywhere"]:
        return "p", "throughout"
    v = _VERTICAL.get(match["v"] or "")
    h = _HORIZONTAL.get(match["h"] or "")
    if not (v or h or match["c"]):
        return None
    # "In the lower centre" is in the south; "the centre" alone is the centre.
    region = "-".join(filter(None, (v, h))) or "centre"
    prep, part = (match["prep"] or "").strip(), match["part"]
    if not part and _ADJECTIVE.search(match[0]):
        return None  # "along the lower slopes"
    if prep == "to":
        return None  # "borders woodland to the south": of the thing, not of the image
    if not prep:
        if part in ("half", "part", "portion", "side", "section"):
            return "h", region
        # "The north is mainly forest" speaks of a half as well.
        return ("h", region) if match["the"] and not part and "-" not in region else None
    if (
        not match["the"]
        and not part
        and (match["v"] or match["h"] or "").endswith(("er", "top", "most", "right", "left"))
    ):
        # "On top", "at right angles": no place of the image.
        return None
    if not match["the"] and not part and prep not in ("in", "at", "along", "near", "toward"):
        return None
    if part in ("edge", "margin", "border", "boundary") and region in (
        "north", "south", "west", "east"
    ):  # fmt: skip
        return "p", f"{region} edge"
    return "p", region


def course(a: str, b: str) -> str:
    """A course by its ends, the same for both senses."""
    order = ("north-west", "north", "west", "south-west", "north-east", "south", "east",
             "south-east")  # fmt: skip
    first, second = sorted((a, b), key=order.index)
    return f"from {first} to {second}"


_ADJECTIVE: Final = re.compile(r"(?:upper|lower|uppermost|lowermost|ern|central)$")

Blocks = NDArray[np.float64]
"""Part of a class's pixels by sixteenth of the mask, "4 4", sum 1."""


def part_inside(blocks: Blocks, region: str) -> float:
    """Part of a class inside a region or edge strip, 0 … 1.

    Halves and quarters of the image; the centre is the middle half of both axes, an edge the outer
    quarter strip.
    """
    if region == "centre":
        return float(blocks[1:3, 1:3].sum())
    rows, columns = slice(None), slice(None)
    depth = 1 if region.endswith(" edge") else 2
    for name in region.removesuffix(" edge").split("-"):
        if name == "north":
            rows = slice(0, depth)
        elif name == "south":
            rows = slice(4 - depth, 4)
        elif name == "west":
            columns = slice(0, depth)
        elif name == "east":
            columns = slice(4 - depth, 4)
    return float(blocks[rows, columns].sum())
