"""Numbers as the page writes them: one form each, with a true minus sign."""

from collections.abc import Sequence
from typing import Final

_MINUS: Final = "\N{MINUS SIGN}"
ABSENT: Final = "\N{EN DASH}"
"""Stands where there is no figure."""


def percent(value: float | None, decimals: int = 1) -> str:
    """A share 0 … 1 in percent, without the sign; one decimal unless a table needs more.

    Example:
        >>> percent(0.12345), percent(None)
        ('12.3', '–')
    """
    return ABSENT if value is None else f"{100 * value:.{decimals}f}".replace("-", _MINUS)


def points(value: float) -> str:
    """A difference of shares in percentage points, always signed.

    Example:
        >>> points(0.0123), points(-0.0123), points(-0.0001)
        ('+1.2', '−1.2', '0.0')
    """
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", _MINUS)


def p_value(value: float | None) -> str:
    """A p-value, three decimals.

    Example:
        >>> p_value(0.0128), p_value(0.0004), p_value(None)
        ('0.013', '< 0.001', '–')
    """
    if value is None:
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(low: float, high: float, *, signed: bool = False) -> str:
    """A 95 % interval of shares or differences, in percent."""
    form = points if signed else percent
    return f"[{form(low)}, {form(high)}]"


def distance(value: float | None) -> str:
    """A distance or silhouette, three decimals."""
    return ABSENT if value is None else f"{value:.3f}".replace("-", _MINUS)


def count(value: int | float | None) -> str:
    """A whole number, thousands apart.

    Example:
        >>> count(2001200)
        '2,001,200'
    """
    return ABSENT if value is None else f"{int(value):,}"


def plural(value: int, noun: str, several: str | None = None) -> str:
    """A number with its noun.

    Example:
        >>> plural(1, "seed"), plural(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{count(value)} {noun if value == 1 else several or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["tree", "shrub", "water"])
        'tree, shrub and water'
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def short_hash(digest: str) -> str:
    """The first twelve digits of a checksum."""
    return digest[:12]
