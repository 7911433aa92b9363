"""Does it help? Paired differences, hierarchical bootstrap, and a plain verdict.

Input is one confusion matrix per arm, run (architecture and seed) and test place. A draw takes
places and runs with replacement, the same for every arm, so differences are paired; each run's
matrices are summed over the drawn places before any figure is taken.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from terraloom.learning.confusion import figures_of
from terraloom.seeds import generator_at
from terraloom.types import Float64Array, Int64Array

METRICS: Final = ("f1", "iou", "precision", "recall")
Word = Literal["helps", "hurts", "no evidence"]
_CHUNK: Final = 1000
_LEVEL: Final = 0.95
_POWER_FACTOR: Final = 2.8
"""z(0.975) + z(0.8): an effect this many standard errors large is seen four times in five."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As plain values, rounded to 5 places."""
        return {k: round(float(v), 5) for k, v in vars(self).items()}


Fold = Mapping[str, Int64Array]
"""Confusion matrices per arm, "run place truth predicted", over the test places of one fold."""


class Bootstrap:
    """Draws of places and runs, shared by all arms.

    With grouped folds, places and runs are drawn within each fold, figures are taken per fold and
    run, and a draw is their mean over the folds: a macro average runs over the classes of its fold.
    With several generator seeds, a draw takes these first, and segmenter seeds within them.

    Args:
        confusion: matrices of one fold, or of several, each with the same arms and number of runs;
            runs and places in one order for every arm.
        draws: number of draws.
        seed: of the draws.
        chains: generator seed of each run, "run"; left out, all runs share one.
    """

    def __init__(
        self,
        confusion: Fold | Sequence[Fold],
        *,
        draws: int,
        seed: int,
        chains: Sequence[int] | None = None,
    ) -> None:
        folds = [confusion] if isinstance(confusion, Mapping) else list(confusion)
        self.folds = [dict(fold) for fold in folds]
        random = generator_at(seed, "bootstrap")
        self._place_weights: list[Int64Array] = []
        self._run_weights: list[Float64Array] = []
        for fold in self.folds:
            runs, places = next(iter(fold.values())).shape[:2]
            self._place_weights.append(
                random.multinomial(places, np.full(places, 1 / places), size=draws)
            )
            self._run_weights.append(_drawn_runs(runs, chains, draws, random))
        self._cache: dict[str, dict[str, Float64Array]] = {}

    def observed(self, arm: str) -> dict[str, Float64Array]:
        """Per metric the macro value of each run, fold by fold, "run"; per class as "f1/…"."""
        parts = [_values(fold[arm].sum(axis=1)) for fold in self.folds]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def drawn(self, arm: str) -> dict[str, Float64Array]:
        """As `observed`, averaged over drawn runs and over folds: "draw" (or "draw class")."""
        if arm not in self._cache:
            parts = [self._drawn_in(fold, arm) for fold in range(len(self.folds))]
            self._cache[arm] = {
                name: parts[0][name]
                if len(parts) == 1
                else _nanmean(np.stack([part[name] for part in parts]))
                for name in parts[0]
            }
        return self._cache[arm]

    def _drawn_in(self, fold: int, arm: str) -> dict[str, Float64Array]:
        pieces: list[dict[str, Float64Array]] = []
        matrices = self.folds[fold][arm].astype(np.float64)
        place_weights = self._place_weights[fold]
        for start in range(0, len(place_weights), _CHUNK):
            weights = place_weights[start : start + _CHUNK].astype(np.float64)
            summed = np.einsum("dp,rpij->drij", weights, matrices, optimize=True)
            run_weights = self._run_weights[fold][start : start + _CHUNK]
            pieces.append(
                {name: _weighted(values, run_weights) for name, values in _values(summed).items()}
            )
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def estimate(self, arm: str, metric: str) -> Estimate:
        """Mean over runs with the percentile interval."""
        return _estimate(float(self.observed(arm)[metric].mean()), self.drawn(arm)[metric])

    def difference(self, arm: str, control: str, metric: str) -> tuple[Estimate, float]:
        """Paired difference arm − control, and the smallest effect this design could have seen."""
        observed = float((self.observed(arm)[metric] - self.observed(control)[metric]).mean())
        drawn = self.drawn(arm)[metric] - self.drawn(control)[metric]
        return _estimate(observed, drawn), _POWER_FACTOR * float(np.nanstd(drawn))

    def class_differences(
        self, arm: str, control: str, metric: str
    ) -> tuple[Float64Array, Float64Array]:
        """Per class: observed difference "class" and draws "draw class"; NaN where absent."""
        key = f"{metric}/class"
        first, second = self.observed(arm)[key], self.observed(control)[key]
        return _nanmean(first - second), self.drawn(arm)[key] - self.drawn(control)[key]


def _drawn_runs(
    runs: int, chains: Sequence[int] | None, draws: int, random: np.random.Generator
) -> Float64Array:
    """Weights of runs in each draw, "draw run", sum 1: generator seeds, then runs within each."""
    if chains is None or len(set(chains)) in (1, runs):
        return random.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs
    groups = [np.flatnonzero(np.array(chains) == chain) for chain in sorted(set(chains))]
    taken = random.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=draws)
    weights = np.zeros((draws, runs))
    for number, members in enumerate(groups):
        share = np.full(len(members), 1 / len(members))
        # Each time that a generator seed is drawn, its runs are drawn anew.
        within = random.multinomial(taken[:, number] * len(members), share)
        weights[:, members] = within / (len(members) * len(groups))
    return weights


def spreads(values: Sequence[float], chains: Sequence[int]) -> dict[str, float | None]:
    """Standard deviation of runs within a generator seed, and of the means of generator seeds.

    Args:
        values: one figure per run.
        chains: generator seed of each run.

    Returns:
        `between` generator seeds (None where there is one) and `within` them (None where each has
        one run).
    """
    groups = [
        np.array([v for v, c in zip(values, chains, strict=True) if c == chain])
        for chain in sorted(set(chains))
    ]
    means = np.array([group.mean() for group in groups])
    several = [group for group in groups if len(group) > 1]
    return {
        "between": float(means.std(ddof=1)) if len(means) > 1 else None,
        "within": float(np.sqrt(np.mean([group.var(ddof=1) for group in several])))
        if several
        else None,
    }


def word_of(differences: Sequence[Estimate]) -> Word:
    """Helps if every interval against a control lies above 0, hurts if one lies below."""
    if any(difference.high < 0 for difference in differences):
        return "hurts"
    if all(difference.low > 0 for difference in differences):
        return "helps"
    return "no evidence"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; order is kept.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, p_values[int(index)] * (len(p_values) - rank)))
        corrected[index] = running
    return [round(float(p), 10) for p in corrected]


def class_statements(
    bootstrap: Bootstrap, arm: str, control: str, names: Sequence[str], metric: str = "f1"
) -> list[dict[str, Any]]:
    """Per class: difference, interval, bootstrap p-value, Holm's p-value and a verdict.

    The p-value is twice the smaller tail of the draws around 0; a class that is absent from truth
    and prediction has none.
    """
    observed, draws = bootstrap.class_differences(arm, control, metric)
    rows: list[dict[str, Any]] = []
    for label, name in enumerate(names):
        values = draws[:, label][~np.isnan(draws[:, label])]
        if np.isnan(observed[label]) or not len(values):
            continue
        estimate = _estimate(float(observed[label]), values)
        rows.append({"class": name, **estimate.to_json(), "p": _p_value(values)})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = round(p, 5)
        clear = p < 1 - _LEVEL
        row["verdict"] = ("helps" if row["mean"] > 0 else "hurts") if clear else "no evidence"
    return rows


def rival_statements(bootstrap: Bootstrap, metric: str = "f1") -> list[dict[str, Any]]:
    """Every pair of the bootstrap's rows against each other, Holm's correction over all pairs.

    Made for architectures on the same rows: none of them is a control, so each pair counts.

    Args:
        bootstrap: whose "arms" are the rivals.
        metric: macro figure that is compared.

    Returns:
        Per pair, the better first: `better`, `worse`, paired difference, `minimum_detectable`, `p`,
        `p_holm`, and `clear`: whether Holm's p lies below 0.05.
    """
    names = sorted(bootstrap.folds[0], key=lambda n: -bootstrap.estimate(n, metric).mean)
    rows: list[dict[str, Any]] = []
    for better, worse in itertools.combinations(names, 2):
        estimate, smallest = bootstrap.difference(better, worse, metric)
        draws = bootstrap.drawn(better)[metric] - bootstrap.drawn(worse)[metric]
        rows.append(
            {
                "better": better,
                "worse": worse,
                **estimate.to_json(),
                "minimum_detectable": round(smallest, 5),
                "p": _p_value(draws),
            }
        )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row |= {"p_holm": round(p, 5), "clear": bool(p < 1 - _LEVEL)}
    return rows


def _p_value(draws: Float64Array) -> float:
    """Twice the smaller tail around 0; never below what so many draws can tell."""
    tail = min((draws <= 0).mean(), (draws >= 0).mean())
    return round(min(1.0, 2 * max(float(tail), 1 / len(draws))), 5)


def false_alarm_rate(
    matrices: Int64Array | Sequence[Int64Array],
    *,
    seed: int,
    resamples: int = 400,
    draws: int = 400,
) -> float:
    """A/A check: how often two halves of one arm are told to differ in favour of the first.

    Each resample deals the places' runs of one arm at random to two pseudo-arms (for each place,
    each pseudo-run takes one of the real runs), then asks for the verdict. Should be ≤ 5 %.

    Args:
        matrices: of one arm, "run place truth predicted"; one array per fold where there are folds.
        seed: of the resamples.
        resamples: A/A experiments.
        draws: bootstrap draws within each.
    """
    folds = [matrices] if isinstance(matrices, np.ndarray) else list(matrices)
    random = generator_at(seed, "a/a")
    alarms = 0
    for index in range(resamples):
        dealt: list[dict[str, Int64Array]] = [{} for _ in folds]
        for name in ("first", "second"):
            for fold, arms in zip(folds, dealt, strict=True):
                runs, places = fold.shape[:2]
                pick = random.integers(runs, size=(runs, places))
                arms[name] = fold[pick, np.arange(places)]
        bootstrap = Bootstrap(dealt, draws=draws, seed=index)
        estimate, _ = bootstrap.difference("first", "second", "f1")
        alarms += word_of([estimate]) == "helps"
    return alarms / resamples


def sentence(arm: str, word: Word, differences: Mapping[str, tuple[Estimate, float]]) -> str:
    """The verdict of one arm in a sentence, of the figures as results keep them.

    A table that rounds what was rounded before must not end on another digit.
    """
    kept = {control: d.to_json() for control, (d, _) in differences.items()}
    told = "; ".join(
        f"{100 * d['mean']:+.1f} points of macro F1 against {control} "
        f"(95 % interval {100 * d['low']:+.1f} to {100 * d['high']:+.1f})"
        for control, d in kept.items()
    )
    if word == "helps":
        return f"{arm} helps: {told}."
    if word == "hurts":
        return f"{arm} hurts: {told}."
    smallest = round(max(effect for _, effect in differences.values()), 5)
    return (
        f"{arm}: no evidence that it helps or hurts: {told}. "
        f"This design would see an effect of about {100 * smallest:.1f} points."
    )


def _values(matrices: Int64Array | Float64Array) -> dict[str, Float64Array]:
    figures = figures_of(matrices)
    values = {name: figures.macro(name) for name in METRICS}
    values["accuracy"] = figures.accuracy
    for name in METRICS:
        values[f"{name}/class"] = getattr(figures, name)
    return values


def _weighted(values: Float64Array, weights: Float64Array) -> Float64Array:
    """Mean over runs (axis 1) by weight; NaN runs are left out."""
    spread = weights if values.ndim == 2 else weights[:, :, None]
    known = ~np.isnan(values)
    total = np.where(known, values * spread, 0.0).sum(axis=1)
    weight = np.where(known, np.broadcast_to(spread, values.shape), 0.0).sum(axis=1)
    mean: Float64Array = np.divide(
        total, weight, out=np.full(total.shape, np.nan), where=weight > 0
    )
    return mean


def _nanmean(values: Float64Array) -> Float64Array:
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean: Float64Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _estimate(mean: float, draws: NDArray[np.float64]) -> Estimate:
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Estimate(mean, float(low), float(high))
