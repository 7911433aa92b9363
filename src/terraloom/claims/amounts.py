"""Amounts in captions: how they are read, and the bands of shares in which they are true."""

import re
from typing import Final

from terraloom.facts import AMOUNTS

_NUMBER: Final = {
    "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "ten": 10.0, "fifteen": 15.0,
    "twenty": 20.0, "thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "seventy": 70.0,
    "eighty": 80.0, "ninety": 90.0,
}  # fmt: skip
_FRACTION: Final = {
    "half": 50.0, "third": 100 / 3, "quarter": 25.0, "fourth": 25.0, "fifth": 20.0,
    "sixth": 100 / 6, "eighth": 12.5, "tenth": 10.0,
}  # fmt: skip
_BOUND: Final = {
    "over": "more than|over|above|at least|slightly more than|a little more than|just over|"
    "well over|upwards of|in excess of",
    "under": "less than|under|below|at most|up to|no more than|not more than|fewer than",
    "nearly": "nearly|almost|just under|just below|slightly less than|a little less than",
    "about": "about|roughly|around|approximately|some|close to|circa|an estimated|approx\\.?|"
    "slightly|exactly",
}
_BOUNDS: Final = "|".join(rf"(?P<{name}>{words})" for name, words in _BOUND.items())
_COUNT: Final = "|".join(_NUMBER)
_PERCENT: Final = r"(?:%|\s*per\s?cent\b|\s*percent\b|\s*pct\b)"
FIGURE: Final = re.compile(
    rf"(?<![\w.])(?:(?:{_BOUNDS})\s+)?(?:"
    rf"(?P<low>\d{{1,3}}(?:[.,]\d+)?)\s*%?\s*(?:-|–|to|and)\s*(?P<high>\d{{1,3}}(?:[.,]\d+)?)"
    rf"\s?{_PERCENT}"
    rf"|(?P<number>\d{{1,3}}(?:[.,]\d+)?)\s?{_PERCENT}"
    rf"|(?P<word>{_COUNT}){_PERCENT}"
    rf"|(?:the other\s+|another\s+|an?\s+|(?P<count>{_COUNT})[\s-]+)?"
    rf"(?P<fraction>half|third|quarter|fifth|sixth|eighth|tenth|fourth)s?(?![\w-])"
    rf")"
)
"""A percentage or fraction with what bounds it, in lower-case text."""
_HAS_FIGURE: Final = re.compile(r"\d|half|third|quarter|fifth|sixth|tenth|eighth|fourth|per\s?cent")

_SIZES: Final = {
    "vast majority": "vast majority|overwhelming majority|great majority|by far the largest part",
    "most": "majority|most|bulk|greater part|larger part|main part|major part|better part",
    "nearly all": "almost all|nearly all|all but a fraction|almost the whole|almost the entire|"
    "nearly the whole|nearly the entire|almost everything",
    "virtually all": "virtually all|practically all",
    "all": "all of|the whole|the entire|the whole of|entirety|everything",
    "large part": "much of|large extent|large parts",
}
_ADJECTIVES: Final = {
    "tiny part": ("tiny", "very small", "negligible"),
    "small part": ("small", "minor", "minimal", "little", "low"),
    "modest part": ("smaller", "modest", "moderate", "limited", "lesser"),
    "good part": (
        "significant", "substantial", "considerable", "sizeable", "sizable", "good", "fair",
        "notable", "significant secondary",
    ),
    "large part": ("large", "major", "big"),
}  # fmt: skip
MEASURES: Final = ("part", "portion", "proportion", "share", "fraction", "amount", "percentage")
"""Nouns that make an adjective one of share: "a small part"."""


def amount_phrases() -> dict[str, str]:
    """Value by phrase, without articles, for amounts that are told in words alone."""
    found = {phrase: value for value, phrases in _SIZES.items() for phrase in phrases.split("|")}
    for value, adjectives in _ADJECTIVES.items():
        for adjective in adjectives:
            for noun in MEASURES:
                # "A major part" is most of it, which stands above.
                found.setdefault(f"{adjective} {noun}", value)
                found.setdefault(f"{adjective} {noun}s", value)
    # "Much" and "all" mean a share only before "of".
    return {phrase: value for phrase, value in found.items() if phrase not in ("all",)}


def has_figure(text: str) -> bool:
    """Whether `FIGURE` can match in lower-case text at all; much cheaper."""
    return _HAS_FIGURE.search(text) is not None


def figure_value(match: re.Match[str]) -> str | None:
    """Value of a claim of quantity from a match of `FIGURE`; None above 100 percent."""
    bound = next((name for name in _BOUND if match[name]), None)
    if match["fraction"]:
        percent = _FRACTION[match["fraction"]] * _NUMBER.get(match["count"] or "one", 1.0)
        bound = bound or "about"
    elif match["low"]:
        percent = (_float(match["low"]) + _float(match["high"])) / 2
        bound = "about"
    elif match["word"]:
        percent = _NUMBER[match["word"]]
    else:
        percent = _float(match["number"])
        if match["about"] == "exactly":
            bound = None
    if percent > 100:
        return None
    told = (
        f"{percent:.4g}"
        if percent != round(percent) and not match["fraction"]
        else (f"{percent:.0f}")
    )
    return f"{bound} {told}" if bound else told


def _float(text: str) -> float:
    return float(text.replace(",", "."))


_WORD_BANDS: Final = {
    words: amount.true for amount in AMOUNTS for words in (w.removeprefix("a ").removeprefix("the ")
    for w in amount.words)
}  # fmt: skip
_ROUND_NAMES: Final = {
    75: "about three quarters", 67: "about two thirds", 50: "about half", 33: "about a third",
    25: "about a quarter", 20: "about a fifth", 10: "about a tenth",
}  # fmt: skip


def supported_band(value: str) -> tuple[float, float]:
    """Shares, both ends included, at which a claim of quantity is supported.

    Raises:
        ValueError: the value is no amount that a claim can have.
    """
    if value in _WORD_BANDS:
        return _WORD_BANDS[value]
    bound, _, number = value.rpartition(" ")
    try:
        percent = float(number)
    except ValueError:
        raise ValueError(f"{value!r} is no amount of a claim") from None
    share = percent / 100
    if bound == "about":
        if (name := _ROUND_NAMES.get(round(percent))) is not None:
            return _WORD_BANDS[name]
        reach = 0.07 if percent >= 25 else 0.05 if percent >= 10 else 0.03
        return max(share - reach, 0.0), min(share + reach, 1.0)
    if bound == "over":
        return max(share - 0.005, 0.0), 1.0
    if bound == "under":
        return 0.0, min(share + 0.005, 1.0)
    if bound == "nearly":
        return max(share - 0.10, 0.0), min(share + 0.005, 1.0)
    return max(share - 0.02, 0.0), min(share + 0.02, 1.0)


def slack(value: str) -> float:
    """How far outside its band a share must lie to contradict the amount."""
    if value == "modest part":
        return 0.20  # "a smaller part" may only mean less than half
    low, high = supported_band(value)
    # Small amounts are told apart at a finer scale than large ones.
    return 0.03 if high > 0.2 else 0.02 if high > 0.06 or low > 0 else 0.01
