"""Does it help a captioner? Intervals, paired differences and verdicts over arms and floors.

Input is, per arm, run (seed) and test place, the sums of `caption_statistics`. A draw takes places
and runs with replacement, the same for every arm, so differences are paired, as in `verdict`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from terraloom.caption_statistics import FIGURES, SUMS, figures_of_sums
from terraloom.seeds import generator_at
from terraloom.types import Float64Array
from terraloom.verdict import Estimate, Word, word_of

JUDGED: Final = ("claim_precision", "cider_d")
"""What a verdict is given on, the first before the second."""
_CHUNK: Final = 1000
_LEVEL: Final = 0.95
_POWER_FACTOR: Final = 2.8
"""z(0.975) + z(0.8): an effect this many standard errors large is seen four times in five."""


class CaptionBootstrap:
    """Draws of places and runs, shared by all arms.

    Args:
        statistics: per arm "run place sum"; runs and places in one order.
        draws: number of draws.
        seed: of the draws.
        figures: that are asked for.
    """

    def __init__(
        self,
        statistics: Mapping[str, Float64Array],
        *,
        draws: int,
        seed: int,
        figures: Sequence[str] = FIGURES,
    ) -> None:
        self.statistics = dict(statistics)
        self.figures = tuple(figures)
        self._draws = draws
        self._seed = seed
        self._cache: dict[str, dict[str, Float64Array]] = {}

    def observed(self, arm: str) -> dict[str, Float64Array]:
        """Per figure the value of each run over all places, "run"."""
        return figures_of_sums(self.statistics[arm].sum(axis=1), self.figures)

    def drawn(self, arm: str) -> dict[str, Float64Array]:
        """Per figure the mean over the drawn runs of each draw, "draw"."""
        if arm not in self._cache:
            own = self.statistics[arm]
            runs, places = own.shape[:2]
            pieces: dict[str, list[Float64Array]] = {name: [] for name in self.figures}
            for start in range(0, self._draws, _CHUNK):
                size = min(_CHUNK, self._draws - start)
                # Addressed, not kept: weights of many places would outweigh everything else.
                random = generator_at(self._seed, "caption bootstrap", start)
                drawn_runs = random.multinomial(runs, np.full(runs, 1 / runs), size=size)
                drawn_places = random.multinomial(places, np.full(places, 1 / places), size=size)
                sums = np.einsum("dp,rps->drs", drawn_places.astype(np.float64), own, optimize=True)
                for name, values in figures_of_sums(sums, self.figures).items():
                    pieces[name].append(_weighted(values, drawn_runs))
            self._cache[arm] = {name: np.concatenate(parts) for name, parts in pieces.items()}
        return self._cache[arm]

    def estimate(self, arm: str, figure: str) -> Estimate | None:
        """Mean over runs with its percentile interval; None where nothing could be decided."""
        return _estimate(self.observed(arm)[figure], self.drawn(arm)[figure])

    def difference(self, arm: str, control: str, figure: str) -> tuple[Estimate, float] | None:
        """Paired difference arm − control, and the smallest effect this design could have seen."""
        drawn = self.drawn(arm)[figure] - self.drawn(control)[figure]
        found = _estimate(self.observed(arm)[figure] - self.observed(control)[figure], drawn)
        return None if found is None else (found, _POWER_FACTOR * float(np.nanstd(drawn)))


def false_alarm_rates(
    statistics: Float64Array, *, seed: int, resamples: int = 400, draws: int = 400
) -> dict[str, float]:
    """A/A check: how often two halves of one arm are told to differ in favour of the first.

    As `verdict.false_alarm_rate`: for each place, each pseudo-run takes one of the real runs.
    Should be at most 5 %.

    Args:
        statistics: of one arm, "run place sum".
        seed: of the resamples.
        resamples: A/A experiments.
        draws: bootstrap draws within each.
    """
    runs, places = statistics.shape[:2]
    random = generator_at(seed, "caption a/a")
    alarms = dict.fromkeys(JUDGED, 0)
    for index in range(resamples):
        halves = {
            name: statistics[random.integers(runs, size=(runs, places)), np.arange(places)]
            for name in ("first", "second")
        }
        bootstrap = CaptionBootstrap(halves, draws=draws, seed=index, figures=JUDGED)
        for figure in JUDGED:
            found = bootstrap.difference("first", "second", figure)
            alarms[figure] += found is not None and word_of([found[0]]) == "helps"
    return {figure: alarms[figure] / resamples for figure in JUDGED}


def stacked(cells: Sequence[Mapping[str, Any]], arm: str, places: Sequence[str]) -> Float64Array:
    """Sums of an arm's cells, "run place sum", runs in the order of their seeds."""
    own = sorted((cell for cell in cells if cell["arm"] == arm), key=lambda cell: cell["seed"])
    found = np.zeros((len(own), len(places), len(SUMS)))
    for run, cell in enumerate(own):
        for number, place in enumerate(places):
            found[run, number] = cell["places"][place]
    return found


def judge_captions(cells: Sequence[Mapping[str, Any]], *, draws: int, seed: int) -> dict[str, Any]:
    """Table, paired differences, verdicts, floors and A/A check of finished cells.

    Args:
        cells: as the benchmark keeps them: `arm`, `kind` (control, arm, floor, ceiling), `seed`,
            `places` (sums per test place), `captions`, `rows`, `redundancy`, `normalised`.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        `table`, `differences`, `verdicts`, `sentence`, `unbeaten_floors`, `aa`.
    """
    kinds = {cell["arm"]: cell["kind"] for cell in cells}
    places = sorted(cells[0]["places"])
    bootstrap = CaptionBootstrap(
        {name: stacked(cells, name, places) for name in kinds}, draws=draws, seed=seed
    )
    controls = [name for name, kind in kinds.items() if kind == "control"]
    table = [_table_row(bootstrap, cells, name, kind) for name, kind in kinds.items()]
    differences, verdicts = [], []
    for name, kind in kinds.items():
        if kind not in ("arm", "floor"):
            continue
        for control in controls:
            for figure in FIGURES:
                found = bootstrap.difference(name, control, figure)
                if found is not None:
                    differences.append(
                        {
                            "arm": name,
                            "control": control,
                            "figure": figure,
                            **found[0].to_json(),
                            "minimum_detectable": round(found[1], 5),
                        }
                    )
        if kind == "arm":
            verdicts += [_verdict(bootstrap, name, controls, figure) for figure in JUDGED]
    first = controls[0]
    return {
        "table": table,
        "differences": differences,
        "verdicts": verdicts,
        "sentence": _overall(verdicts),
        "unbeaten_floors": _unbeaten(bootstrap, kinds),
        "aa": {
            "arm": first,
            "rates": {
                figure: round(rate, 4)
                for figure, rate in false_alarm_rates(
                    bootstrap.statistics[first], seed=seed
                ).items()
            },
            "limit": 0.05,
        },
        "test_places": len(places),
    }


def _table_row(
    bootstrap: CaptionBootstrap, cells: Sequence[Mapping[str, Any]], name: str, kind: str
) -> dict[str, Any]:
    own = [cell for cell in cells if cell["arm"] == name]
    figures = {figure: bootstrap.estimate(name, figure) for figure in FIGURES}
    per_run = bootstrap.observed(name)
    return {
        "arm": name,
        "kind": kind,
        "rows": own[0]["rows"],
        "runs": len(own),
        "captions": sum(cell["captions"] for cell in own),
        **{figure: None if e is None else e.to_json() for figure, e in figures.items()},
        "per_run": {
            figure: [None if np.isnan(v) else round(float(v), 5) for v in per_run[figure]]
            for figure in JUDGED
        },
        "redundancy": round(float(np.mean([cell["redundancy"] for cell in own])), 5),
        "normalised": round(float(np.mean([cell["normalised"] for cell in own])), 5),
    }


_TOLD: Final = {
    "claim_precision": ("claim accuracy", 100.0, "points of claim precision", "points"),
    "cider_d": ("CIDEr-D", 1.0, "CIDEr-D", "CIDEr-D"),
}


def _verdict(
    bootstrap: CaptionBootstrap, arm: str, controls: Sequence[str], figure: str
) -> dict[str, Any]:
    against = {control: bootstrap.difference(arm, control, figure) for control in controls}
    known = {control: found for control, found in against.items() if found is not None}
    word: Word = "no evidence"
    if len(known) == len(against):
        word = word_of([estimate for estimate, _ in known.values()])
    what = _TOLD[figure][0]
    if len(known) < len(against):
        told = f"{arm}: nothing can be said of {what}: no claim could be decided in some runs."
    else:
        told = _sentence(arm, word, figure, known)
    if figure == "claim_precision":
        told += _silence(bootstrap, arm, controls)
    return {"arm": arm, "figure": figure, "verdict": word, "sentence": told}


def _sentence(
    arm: str, word: Word, figure: str, against: Mapping[str, tuple[Estimate, float]]
) -> str:
    what, scale, unit, short = _TOLD[figure]
    digits = 1 if scale > 1 else 2
    told = "; ".join(
        f"{scale * d['mean']:+.{digits}f} {unit} against {control} (95 % interval "
        f"{scale * d['low']:+.{digits}f} to {scale * d['high']:+.{digits}f})"
        for control, d in ((control, found.to_json()) for control, (found, _) in against.items())
    )
    if word != "no evidence":
        return f"{arm} {word} {what}: {told}."
    smallest = round(max(effect for _, effect in against.values()), 5)
    return (
        f"{arm}: no evidence that it helps or hurts {what}: {told}. This design would see an "
        f"effect of about {scale * smallest:.{digits}f} {short}."
    )


def _silence(bootstrap: CaptionBootstrap, arm: str, controls: Sequence[str]) -> str:
    """A sentence where an arm claims less than a control does: precision is cheap then."""
    for control in controls:
        found = bootstrap.difference(arm, control, "claims")
        if found is not None and found[0].high < 0:
            return (
                f" It claims less, though: {found[0].mean:+.2f} decided claims per caption "
                f"against {control} (95 % interval {found[0].low:+.2f} to {found[0].high:+.2f})."
            )
    return ""


def _overall(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The sentence of the benchmark: claim accuracy of the arm that has everything."""
    own = [v for v in verdicts if v["figure"] == JUDGED[0]]
    mixed = [v for v in own if v["arm"].startswith("real+")] or own
    if not mixed:
        return "No arm with synthetic rows was run, so there is no verdict."
    chosen = next((v for v in mixed if v["arm"] == "real+both"), mixed[-1])
    return str(chosen["sentence"])


def _unbeaten(bootstrap: CaptionBootstrap, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """Arms, controls included, whose mean is not above that of a floor."""
    found = []
    for name, kind in kinds.items():
        if kind in ("floor", "ceiling"):
            continue
        for floor in (other for other, of_kind in kinds.items() if of_kind == "floor"):
            for figure in JUDGED:
                one, other = bootstrap.estimate(name, figure), bootstrap.estimate(floor, figure)
                if one is None or (other is not None and one.mean <= other.mean):
                    found.append({"arm": name, "floor": floor, "figure": figure})
    return found


def _weighted(values: Float64Array, weights: Any) -> Float64Array:  # noqa: ANN401 - counts
    """Mean over runs, "draw run", by how often each was drawn; NaN runs are left out."""
    known = ~np.isnan(values)
    total = np.where(known, values * weights, 0.0).sum(axis=1)
    weight = np.where(known, weights, 0).sum(axis=1)
    mean: Float64Array = np.divide(
        total, weight, out=np.full(total.shape, np.nan), where=weight > 0
    )
    return mean


def _estimate(per_run: Float64Array, drawn: Float64Array) -> Estimate | None:
    known = per_run[~np.isnan(per_run)]
    if not len(known) or np.isnan(drawn).all():
        return None
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Estimate(float(known.mean()), float(low), float(high))
