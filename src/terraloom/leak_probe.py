"""What a text alone tells of class shares: numbers that it quotes, and a probe that learns to read.

The probe predicts the shares from the words (TF-IDF of words and word pairs, ridge regression),
cross-validated so that no group stands on both sides, beside two controls: the same texts dealt out
at random, and the mean of the training folds. A caption whose writer saw the shares may be a
target, never an input of a task that predicts them; the probe says how much would be read off.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from terraloom.seeds import generator_at
from terraloom.types import Float64Array

MIN_CAPTIONS: Final = 20
FOLDS: Final = 5
QUOTE_TOLERANCE: Final = 0.0051
"""A quoted percentage counts as a class's share within half a percent, the rounding of one."""
QUOTE_LEAST: Final = 0.02
"""Shares below this are not looked for: "1 %" is quoted of anything."""
_ALPHA: Final = 1.0
_MAX_WORDS: Final = 20_000
# Single letters and digits count as words; a percent sign too.
_WORDS_AND_SIGNS: Final = r"(?u)\b\w+\b|%"
_DIGIT: Final = re.compile(r"\d")
_PERCENTAGE: Final = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:%|\N{FULLWIDTH PERCENT SIGN}|per\s?cent\b|percent(?:age)?\b)",
    re.IGNORECASE,
)
_SPELLED: Final = re.compile(
    r"\b(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ](?:one|two|three|four|"
    r"five|six|seven|eight|nine))?|ten|eleven|twelve|\w+teen|one|two|three|four|five|six|seven|"
    r"eight|nine|(?:a|one) hundred)\s+(?:per\s?cent|percent)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quotes:
    """Numbers in one text."""

    digits: bool
    percentages: bool
    """A number with a percent sign or the word, or a number spelled out before the word."""
    values: tuple[float, ...]
    """Percentages written in digits, as shares 0 … 1."""

    def state(self, shares: Sequence[float]) -> bool:
        """Whether a quoted percentage is the share of a class, within rounding."""
        return any(
            share >= QUOTE_LEAST and abs(share - value) <= QUOTE_TOLERANCE
            for value in self.values
            for share in shares
        )


def quotes_in(text: str) -> Quotes:
    """Numbers and percentages that a text quotes.

    Example:
        >>> quotes_in("Grass covers 86% of it, trees ten percent.").values
        (0.86,)
    """
    spelled = "cent" in text.lower() and _SPELLED.search(text) is not None
    # Most captions have no digit at all; looking for one is cheap.
    if not _DIGIT.search(text):
        return _SPELLED_OUT if spelled else _NO_QUOTES
    found = [float(number.replace(",", ".")) for number in _PERCENTAGE.findall(text)]
    return Quotes(True, bool(found) or spelled, tuple(value / 100 for value in found))


_NO_QUOTES: Final = Quotes(False, False, ())
_SPELLED_OUT: Final = Quotes(False, True, ())


@dataclass(frozen=True, slots=True)
class ProbedClass:
    """How well the share of one class is predicted from text, out of fold."""

    name: str
    r2: float | None
    """1 − squared error over that of the mean predictor; 1 reads all, 0 or less reads nothing. None
    where the share never varies."""
    r2_shuffled: float | None
    """The same with texts dealt out at random: what chance and the fit's noise give."""
    error: float
    """Mean absolute error of the share, 0 … 1."""
    error_shuffled: float
    error_mean: float
    """Of always predicting the training folds' mean."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe read."""

    captions: int
    groups: int
    folds: int
    classes: tuple[ProbedClass, ...]
    r2: float | None
    """Over all classes: 1 − summed squared error over the mean predictor's."""
    r2_shuffled: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to four places."""

        def plain(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        return {
            "captions": self.captions,
            "groups": self.groups,
            "folds": self.folds,
            "r2": plain(self.r2),
            "r2_shuffled": plain(self.r2_shuffled),
            "classes": {
                probed.name: {
                    "r2": plain(probed.r2),
                    "r2_shuffled": plain(probed.r2_shuffled),
                    "error": plain(probed.error),
                    "error_shuffled": plain(probed.error_shuffled),
                    "error_mean": plain(probed.error_mean),
                }
                for probed in self.classes
            },
        }


def why_not_probed(captions: int, groups: int) -> str | None:
    """Why so few captions cannot be probed; None where they can."""
    if captions < MIN_CAPTIONS or groups < FOLDS:
        return (
            f"too few to cross-validate: {captions} captions of {groups} groups, "
            f"{MIN_CAPTIONS} of {FOLDS} are needed"
        )
    return None


def probe_shares(
    texts: Sequence[str],
    shares: Float64Array,
    groups: Sequence[str],
    names: Sequence[str],
    *,
    seed: int,
) -> Probe:
    """Predict class shares from text alone, `FOLDS`-fold, no group on both sides.

    Args:
        texts: captions.
        shares: float64 "caption class", 0 … 1.
        groups: place or image of each caption; captions of one group stay together.
        names: of the classes.
        seed: of the control's shuffle, and of nothing else.

    Raises:
        ValueError: lengths differ, or there are too few captions or groups (`why_not_probed`).
    """
    if not len(texts) == len(shares) == len(groups):
        raise ValueError(
            f"{len(texts)} texts, {len(shares)} rows of shares and {len(groups)} groups differ"
        )
    reason = why_not_probed(len(texts), len(set(groups)))
    if reason is not None:
        raise ValueError(reason)
    dealt = generator_at(seed, "leak probe").permutation(len(texts))
    read, mean = _predicted(texts, shares, groups)
    noise, _ = _predicted([texts[i] for i in dealt], shares, groups)
    classes = []
    for label, name in enumerate(names):
        base = _squares(mean, shares, label)
        classes.append(
            ProbedClass(
                name=name,
                r2=_skill(_squares(read, shares, label), base),
                r2_shuffled=_skill(_squares(noise, shares, label), base),
                error=float(np.abs(read - shares)[:, label].mean()),
                error_shuffled=float(np.abs(noise - shares)[:, label].mean()),
                error_mean=float(np.abs(mean - shares)[:, label].mean()),
            )
        )
    whole = float(((mean - shares) ** 2).sum())
    return Probe(
        captions=len(texts),
        groups=len(set(groups)),
        folds=FOLDS,
        classes=tuple(classes),
        r2=_skill(float(((read - shares) ** 2).sum()), whole),
        r2_shuffled=_skill(float(((noise - shares) ** 2).sum()), whole),
    )


def _squares(predicted: Float64Array, shares: Float64Array, label: int) -> float:
    return float(((predicted - shares)[:, label] ** 2).sum())


def _skill(error: float, base: float) -> float | None:
    return 1.0 - error / base if base > 1e-12 else None


def _predicted(
    texts: Sequence[str], shares: Float64Array, groups: Sequence[str]
) -> tuple[Float64Array, Float64Array]:
    """Predictions out of fold, and those of the training folds' mean, both "caption class"."""
    predicted, mean = np.empty_like(shares), np.empty_like(shares)
    for fit, held in GroupKFold(FOLDS).split(shares, groups=groups):
        words = TfidfVectorizer(
            ngram_range=(1, 2),
            token_pattern=_WORDS_AND_SIGNS,
            sublinear_tf=True,
            max_features=_MAX_WORDS,
        )
        try:
            known = words.fit_transform([texts[i] for i in fit])
        except ValueError:  # no word in any text: nothing to read
            predicted[held] = shares[fit].mean(axis=0)
        else:
            model = Ridge(alpha=_ALPHA, solver="sparse_cg", tol=1e-4).fit(known, shares[fit])
            answers = model.predict(words.transform([texts[i] for i in held]))
            predicted[held] = np.clip(answers.reshape(len(held), -1), 0.0, 1.0)
        mean[held] = shares[fit].mean(axis=0)
    return predicted, mean
