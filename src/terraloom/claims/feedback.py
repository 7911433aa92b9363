"""A contradiction told in words, for the writer of a caption: without digits, without shares.

The repair loop hands these sentences back to the model that wrote the caption. They say what the
mask does not bear out, never how much there is of what, so that no figure gets into the text.
"""

import re
from collections.abc import Sequence
from typing import Final

from terraloom.claims.claim import CheckedCaption, Claim
from terraloom.claims.lexicon import DIGITS

_MOST_TOLD: Final = 6
_FRACTIONS: Final = {
    "10": "a tenth", "20": "a fifth", "25": "a quarter", "33": "a third", "50": "half",
    "67": "two thirds", "75": "three quarters",
}  # fmt: skip
_SHAPES: Final = {
    "scattered": "is not scattered, but lies in one piece",
    "patches": "does not lie in patches, but in one piece",
    "one piece": "is not one piece, but broken up",
    "strip": "is not long and narrow",
    "winding": "does not wind",
    "straight": "is not straight",
}
_BOUNDS: Final = {"over": "more than", "under": "less than", "nearly": "nearly", "about": "about"}


def feedback(checked: CheckedCaption) -> str:
    """What is wrong with a caption, one short sentence per contradiction; empty where nothing is.

    At most six are told, in the order of the caption. Holds no digit, whatever the caption or the
    class names hold.
    """
    lines = dict.fromkeys(_sentence(c.claim, checked.names) for c in checked.contradictions)
    text = " ".join(list(lines)[:_MOST_TOLD])
    return re.sub(r" ?(\d)", lambda digit: f" {DIGITS[int(digit[1])]}", text)


def _sentence(claim: Claim, names: Sequence[str]) -> str:
    told = " and ".join(names[label].replace("_", " ") for label in claim.classes)
    value = claim.value or ""
    if claim.negated:
        return f"The caption denies something of {told} that is true."
    match claim.kind:
        case "presence":
            return f"There is no {told} in the scene."
        case "absence":
            return f"There is {told} in the scene."
        case "dominant":
            return f"{_upper(told)} {_does(claim)} not dominate the scene."
        case "quantity":
            return f"{_upper(told)} {_does(claim)} not cover {_amount(value)} of the scene."
        case "place":
            return f"{_upper(told)} {_does(claim)} not {_place(value)}."
        case "adjacency":
            return f"{_upper(told)} do not lie next to each other."
        case "shape":
            return f"{_upper(told)} {_SHAPES[value]}."
        case "comparison":
            one, other = (names[label].replace("_", " ") for label in claim.classes)
            if value == "equal":
                return f"{_upper(one)} and {other} do not cover similar parts."
            return f"{_upper(one)} does not cover more of the scene than {other}."


def _does(claim: Claim) -> str:
    return "do" if len(claim.classes) > 1 else "does"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _amount(value: str) -> str:
    """An amount in words; a figure that is no simple fraction is called that."""
    if value == "most of the rest":
        return "most of the rest"
    bound, _, number = value.rpartition(" ")
    if number.replace(".", "").isdigit():
        fraction = _FRACTIONS.get(number)
        if fraction is None:
            return "the part that is told"
        return f"{_BOUNDS[bound]} {fraction}" if bound else fraction
    return (
        value
        if value.split()[0] in ("all", "most", "nearly", "virtually")
        else (f"the {value}" if value == "vast majority" else f"a {value}")
    )


def _place(value: str) -> str:
    if value.startswith("fills "):
        return f"fill most of the {value.removeprefix('fills ')}"
    if value.startswith("from "):
        return f"run {value}"
    if value == "throughout":
        return "occur throughout the scene"
    return f"lie along the {value}" if value.endswith("edge") else f"lie in the {value}"
