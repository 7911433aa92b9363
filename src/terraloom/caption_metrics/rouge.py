"""ROUGE-L of a caption (Lin 2004, section 3): the longest common subsequence with its references.

P = LCS / candidate tokens, R = LCS / reference tokens, F = (1 + β²) R P / (R + β² P), β = 1.2
(equations 2 to 4). Of several references the COCO caption evaluation takes the best P and the best
R, each by itself, and so does this: F can come from two references, and never falls when one is
added. The LCS is computed with one addition per token on bit rows (Hyyrö 2004).
"""

from collections.abc import Sequence
from typing import Final

VARIANT: Final = "beta 1.2, best precision and best recall over references"
BETA: Final = 1.2


def common_subsequence(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common subsequence.

    Example:
        >>> common_subsequence([1, 2, 3, 4], [2, 9, 4, 1])
        2
    """
    return _common(_places(first), len(first), second)


def rouge_l(candidate: Sequence[int], references: Sequence[Sequence[int]]) -> float:
    """ROUGE-L of token numbers, 0 … 1; 0 without a candidate token.

    Args:
        candidate: tokens, may be empty.
        references: at least one, none empty.
    """
    if not candidate:
        return 0.0
    places = _places(candidate)
    precision = recall = 0.0
    for reference in references:
        common = _common(places, len(candidate), reference)
        precision = max(precision, common / len(candidate))
        recall = max(recall, common / len(reference))
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _places(tokens: Sequence[int]) -> dict[int, int]:
    """Per token a bit row of the places where it stands."""
    places: dict[int, int] = {}
    for place, token in enumerate(tokens):
        places[token] = places.get(token, 0) | 1 << place
    return places


def _common(places: dict[int, int], length: int, other: Sequence[int]) -> int:
    whole = (1 << length) - 1
    unmet = whole
    for token in other:
        here = unmet & places.get(token, 0)
        if here:
            unmet = ((unmet + here) | (unmet - here)) & whole
    return length - unmet.bit_count()
