"""Which score predicts use? Rank correlation of scores with measured gains, over slices of a pool.

A slice is a set of synthetic samples that was added to the real rows; its gain is what a model won
by it over the control, once per run (seed). Spearman's ρ and Kendall's τ-b (which counts ties; both
from SciPy) tell whether a score puts the slices in the order of their gains. P-values come from
permuted pairings, not from a formula that needs many slices, and are corrected over the scores
after Holm (1979). Nothing is fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
from scipy import stats

from terraloom.errors import InputError
from terraloom.seeds import generator_at
from terraloom.types import Float64Array
from terraloom.verdict import Estimate, holm

Better = Literal["higher", "lower"]
Word = Literal["predicts", "misleads", "no evidence", "too few slices", "constant"]

LEVEL: Final = 0.05
"""Of a statement, over all scores together."""
STRONG: Final = 0.8
"""A design that would miss even a correlation of this size is called too small to say."""
DRAWS: Final = 2_000
PERMUTATIONS: Final = 4_999
_LEAST: Final = 4
"""Slices, below which no correlation is taken."""
_CHUNK: Final = 200
_POWER_Z: Final = 0.8416
"""z(0.8): an effect is seen four times in five."""
_SPEARMAN_VARIANCE: Final = 1.06
"""Of atanh ρ, times n − 3 (Fieller, Hartley & Pearson 1957)."""


@dataclass(frozen=True)
class Score:
    """One score of every slice."""

    name: str
    values: Float64Array
    """Float "slice"; NaN where a slice has none."""
    better: Better
    """Which end the score calls good."""


@dataclass(frozen=True)
class Finding:
    """What one score says of the gains. Positive: slices that it calls better helped more."""

    score: str
    better: Better
    slices: int
    """That have the score."""
    spearman: Estimate | None
    """ρ with a 95 % bootstrap interval over slices and runs; None where a side is constant."""
    kendall: Estimate | None
    """τ-b, likewise."""
    p: float | None
    """Two-sided, of ρ, by permuted pairings."""
    p_holm: float | None
    smallest: float | None
    """|ρ| that so many slices would show four times in five, after Holm; None below four."""
    word: Word

    def to_json(self) -> dict[str, Any]:
        """As plain values, rounded to 5 places."""
        values = asdict(self)
        for name in ("spearman", "kendall"):
            estimate = getattr(self, name)
            values[name] = None if estimate is None else estimate.to_json()
        for name in ("p", "p_holm", "smallest"):
            values[name] = None if values[name] is None else round(values[name], 5)
        return values


@dataclass(frozen=True)
class Ranking:
    """All scores beside one another, and what their figures can be at best."""

    findings: tuple[Finding, ...]
    """In the order of the scores."""
    slices: int
    runs: int
    repeatability: float | None
    """Mean ρ between the gains of two runs: 0 where the gains are noise, which no score can
    predict; None with one run, or where gains are constant."""
    reliability: float | None
    """Of the mean over the runs (Spearman 1910, Brown 1910); the root of it bounds |ρ|."""
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """As plain values, rounded to 5 places."""
        rounded = {
            name: None if value is None else round(value, 5)
            for name, value in (
                ("repeatability", self.repeatability),
                ("reliability", self.reliability),
            )
        }
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "slices": self.slices,
            "runs": self.runs,
            "sentence": self.sentence,
            **rounded,
        }


def rank_scores(
    scores: Sequence[Score],
    gains: Float64Array,
    *,
    seed: int,
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
) -> Ranking:
    """Correlate every score with the gains.

    Slices are taken as exchangeable where a score says nothing of them. Slices that share samples
    are not quite; the fewer they share, the better the p-values hold.

    Args:
        scores: names differ; a value per slice.
        gains: of each slice over the control, paired by run: "slice run", finite.
        seed: of bootstrap draws and permutations.
        draws: of the bootstrap, which takes slices and runs with replacement.
        permutations: of the pairings; all of them where there are no more.

    Raises:
        InputError: shapes do not fit, names repeat, or a gain is no number.
    """
    gains = np.asarray(gains, dtype=np.float64)
    _check(scores, gains)
    found: list[_Raw] = [_correlate(score, gains, seed, draws, permutations) for score in scores]
    tested = [raw for raw in found if raw.p is not None]
    corrected = iter(holm([raw.p for raw in tested if raw.p is not None]))
    findings = []
    for score, raw in zip(scores, found, strict=True):
        p_holm = None if raw.p is None else next(corrected)
        smallest = smallest_correlation(raw.slices, len(tested))
        findings.append(
            Finding(
                score.name,
                score.better,
                raw.slices,
                raw.spearman,
                raw.kendall,
                raw.p,
                p_holm,
                smallest,
                _word(raw, p_holm, smallest),
            )
        )
    repeatability = _repeatability(gains)
    runs = gains.shape[1]
    reliability = None
    if repeatability is not None:
        known = max(repeatability, 0.0)
        reliability = runs * known / (1 + (runs - 1) * known)
    return Ranking(
        tuple(findings),
        gains.shape[0],
        runs,
        repeatability,
        reliability,
        _sentence(findings, gains.shape[0], runs, repeatability),
    )


def smallest_correlation(slices: int, scores: int) -> float | None:
    """|ρ| that is found four times in five at a level of 5 % over so many scores, after Holm.

    Fisher's z of ρ, whose variance is about 1.06 / (n − 3); None where there are too few slices.
    """
    if slices < _LEAST or scores < 1:
        return None
    z = float(stats.norm.isf(LEVEL / (2 * scores))) + _POWER_Z
    return math.tanh(z * math.sqrt(_SPEARMAN_VARIANCE / (slices - 3)))


@dataclass(frozen=True)
class _Raw:
    """Figures of one score before the correction."""

    slices: int
    spearman: Estimate | None = None
    kendall: Estimate | None = None
    p: float | None = None
    constant: bool = False


def _check(scores: Sequence[Score], gains: Float64Array) -> None:
    if gains.ndim != 2 or not gains.shape[1]:
        raise InputError(f'gains must be "slice run" with a run or more; found {gains.shape}.')
    if not np.isfinite(gains).all():
        raise InputError("every slice needs a gain in every run; some are no number.")
    names = [score.name for score in scores]
    if len(set(names)) < len(names):
        raise InputError(f"scores must differ in name; found {', '.join(names)}.")
    for score in scores:
        if np.shape(score.values) != (len(gains),):
            raise InputError(
                f"score {score.name} has values of shape {np.shape(score.values)} for "
                f"{len(gains)} slices."
            )


def _correlate(score: Score, gains: Float64Array, seed: int, draws: int, permutations: int) -> _Raw:
    values = np.asarray(score.values, dtype=np.float64)
    known = np.isfinite(values)
    values, gains = values[known], gains[known]
    if score.better == "lower":
        values = -values
    mean = gains.mean(axis=1)
    if len(values) and (np.ptp(values) == 0 or np.ptp(mean) == 0):
        return _Raw(len(values), constant=True)
    if len(values) < _LEAST:
        return _Raw(len(values))
    random = generator_at(seed, "permutations", score.name)
    tested = stats.pearsonr(
        stats.rankdata(values),
        stats.rankdata(mean),
        method=stats.PermutationMethod(n_resamples=permutations, random_state=random),
    )
    kendall = float(stats.kendalltau(values, mean).statistic)
    rho, tau = _bootstrap(values, gains, seed, score.name, draws)
    return _Raw(
        len(values),
        _estimate(float(stats.spearmanr(values, mean).statistic), rho),
        _estimate(kendall, tau),
        float(tested.pvalue),
    )


def _bootstrap(
    values: Float64Array, gains: Float64Array, seed: int, name: str, draws: int
) -> tuple[Float64Array, Float64Array]:
    """ρ and τ-b of each draw of slices and runs; draws that leave a side constant are dropped."""
    random = generator_at(seed, "bootstrap", name)
    slices, runs = gains.shape
    rho, tau = [], []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        rows = random.integers(slices, size=(size, slices))
        columns = random.integers(runs, size=(size, runs))
        x = values[rows]
        y = gains[rows[:, :, None], columns[:, None, :]].mean(axis=2)
        rho.append(spearman_rows(x, y))
        tau.append(kendall_rows(x, y))
    found = np.concatenate(rho), np.concatenate(tau)
    return found[0][np.isfinite(found[0])], found[1][np.isfinite(found[1])]


def spearman_rows(x: Float64Array, y: Float64Array) -> Float64Array:
    """ρ of each row of two arrays "draw slice"; ties share their mean rank, NaN where constant."""
    ranks = [stats.rankdata(side, axis=1) for side in (x, y)]
    return _cosines(*(side - side.mean(axis=1, keepdims=True) for side in ranks))


def kendall_rows(x: Float64Array, y: Float64Array) -> Float64Array:
    """τ-b of each row of two arrays "draw slice" (Kendall 1945, with ties); NaN where constant."""
    signs = [np.sign(side[:, :, None] - side[:, None, :]).reshape(len(side), -1) for side in (x, y)]
    return _cosines(*signs)


def _cosines(x: Float64Array, y: Float64Array) -> Float64Array:
    lengths = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    cosines: Float64Array = np.divide(
        (x * y).sum(axis=1), lengths, out=np.full(len(x), np.nan), where=lengths > 0
    )
    return cosines


def _estimate(value: float, draws: Float64Array) -> Estimate:
    if not len(draws):
        return Estimate(value, -1.0, 1.0)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def _repeatability(gains: Float64Array) -> float | None:
    runs = gains.T
    if len(runs) < 2 or gains.shape[0] < _LEAST:
        return None
    pairs = list(combinations(range(len(runs)), 2))
    first = np.stack([runs[i] for i, _ in pairs])
    second = np.stack([runs[j] for _, j in pairs])
    found = spearman_rows(first, second)
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else None


def _word(raw: _Raw, p_holm: float | None, smallest: float | None) -> Word:
    if raw.constant:
        return "constant"
    if raw.spearman is None or p_holm is None or smallest is None:
        return "too few slices"
    if p_holm < LEVEL:
        return "predicts" if raw.spearman.mean > 0 else "misleads"
    return "too few slices" if smallest > STRONG else "no evidence"


def _sentence(
    findings: Sequence[Finding], slices: int, runs: int, repeatability: float | None
) -> str:
    told = {
        word: [
            f"{f.score} (ρ {f.spearman.mean:+.2f})" if f.spearman is not None else f.score
            for f in findings
            if f.word == word
        ]
        for word in ("predicts", "misleads")
    }
    design = f"{slices} slices, {runs} run{'s' if runs > 1 else ''} each"
    parts = []
    if told["predicts"]:
        parts.append(f"{', '.join(told['predicts'])} put slices in the order of their gains")
    if told["misleads"]:
        parts.append(f"{', '.join(told['misleads'])} put them in the opposite order")
    smallest = [f.smallest for f in findings if f.smallest is not None and f.p is not None]
    if not parts and smallest and max(smallest) > STRONG:
        parts.append(
            "the number of slices is too small to say: only a correlation of about "
            f"{max(smallest):.2f} or more would have been found"
        )
    elif not parts and smallest:
        parts.append(
            "no score is shown to order the gains; a correlation of about "
            f"{max(smallest):.2f} would have been found four times in five"
        )
    elif not parts:
        parts.append("the number of slices is too small to say anything")
    sentence = f"{design}: {'; '.join(parts)}."
    if repeatability is not None:
        sentence += f" The gains of two runs correlate by {repeatability:+.2f}."
    return sentence
