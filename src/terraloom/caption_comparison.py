"""Arms of a captioning benchmark side by side: claim accuracy first, then overlap, then redundancy.

A *run* is what one trained captioner wrote for the images of one fold; arms are compared run by
run, paired by fold and seed, on the same images. Overlap with references rewards the wording of the
references, true or not, so what a caption claims of its image is told before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from terraloom.caption_metrics import METRICS, CaptionScores, evaluate_captions
from terraloom.claims import check_caption
from terraloom.classes import ClassTable
from terraloom.errors import InputError
from terraloom.facts import Facts
from terraloom.redundancy import Redundancy, exact_redundancy
from terraloom.seeds import generator_at
from terraloom.types import Float64Array, Int64Array
from terraloom.verdict import Estimate

CLAIMS: Final = ("claim_precision", "names_dominant", "contradicted", "claims")
"""Supported among decided claims, captions that name the class with the largest share, captions
with a contradicted claim, decided claims per caption: a writer who claims nothing is never wrong,
which the last one shows."""
COLUMNS: Final = (*CLAIMS, *METRICS, "redundancy")
"""In the order of the table. Less is better of `contradicted` and `redundancy` alone."""

Cell = tuple[int, int]
"""Fold and seed of a run."""
_TAILS: Final = (2.5, 97.5)


@dataclass(frozen=True, eq=False)
class CaptionRun:
    """One run, scored; made by `score_run`."""

    scores: CaptionScores
    supported: Int64Array
    """"image", claims that the mask supports; images in the order of `scores.ids`."""
    contradicted: Int64Array
    """"image", claims that the mask contradicts."""
    names_dominant: Float64Array
    """"image", 1 or 0; NaN where no pixel of the mask is known."""
    redundancy: Redundancy
    """Exact, over the captions of the run."""

    def values(self, rows: Int64Array | None = None) -> dict[str, float]:
        """Columns of the table over all captions, or over some (a draw of a bootstrap).

        A draw has no redundancy: it repeats captions itself. NaN where nothing could be decided.

        Args:
            rows: places in `scores.ids`, at least one; repeats count as often as they stand there.
        """
        chosen = slice(None) if rows is None else rows
        supported, contradicted = self.supported[chosen], self.contradicted[chosen]
        decided = int((supported + contradicted).sum())
        named = self.names_dominant[chosen]
        known = named[~np.isnan(named)]
        found = {
            "claim_precision": float(supported.sum()) / decided if decided else np.nan,
            "names_dominant": float(known.mean()) if len(known) else np.nan,
            "contradicted": float((contradicted > 0).mean()),
            "claims": decided / len(supported),
            **(self.scores.corpus if rows is None else self.scores.corpus_of(rows)),
        }
        if rows is None:
            found["redundancy"] = self.redundancy.redundancy
        return found


@dataclass(frozen=True)
class CaptionRow:
    """One arm of the table."""

    arm: str
    runs: int
    captions: int
    """Over all runs."""
    values: Mapping[str, float | None]
    """Per column the mean over runs; None where nothing could be decided."""
    spread: Mapping[str, float | None]
    """Per column the standard deviation over runs; None of a single one."""
    differences: Mapping[str, Estimate]
    """Per column arm − control over the runs that both have, with its 95 % interval over places
    and seeds (redundancy has no interval and is left out); empty for the control."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "arm": self.arm,
            "runs": self.runs,
            "captions": self.captions,
            "values": dict(self.values),
            "spread": dict(self.spread),
            "differences": {name: e.to_json() for name, e in self.differences.items()},
        }


def score_run(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    truth: Mapping[str, Facts | Sequence[float]],
    classes: ClassTable,
) -> CaptionRun:
    """Score the captions of one run against references and masks.

    Args:
        candidates: caption by image id.
        references: captions that count as right, by image id.
        truth: facts measured on each image's mask, or its class shares by label (places and
            neighbours are not checkable then).
        classes: class table of the masks; METEOR may match its one-word synonyms.

    Raises:
        InputError: as `evaluate_captions`, or an image has no facts.
    """
    scores = evaluate_captions(candidates, references, synonyms=classes)
    unmeasured = [key for key in scores.ids if key not in truth]
    if unmeasured:
        raise InputError(
            f"{len(unmeasured)} of {len(scores.ids)} captions are of images without facts or "
            f"shares, such as {unmeasured[0]!r}; claims can only be checked against a mask."
        )
    checked = [check_caption(candidates[key], truth[key], classes) for key in scores.ids]

    def count(verdict: str) -> Int64Array:
        return np.array(
            [sum(c.verdict == verdict for c in one.claims) for one in checked], dtype=np.int64
        )

    return CaptionRun(
        scores=scores,
        supported=count("supported"),
        contradicted=count("contradicted"),
        names_dominant=np.array(
            [np.nan if c.names_dominant is None else float(c.names_dominant) for c in checked]
        ),
        redundancy=exact_redundancy(candidates[key] for key in scores.ids),
    )


def caption_table(
    runs: Mapping[str, Mapping[Cell, CaptionRun]],
    *,
    control: str,
    draws: int,
    seed: int,
    places: Mapping[str, str] | None = None,
) -> tuple[CaptionRow, ...]:
    """Rows of the comparison, in the order of the arms.

    Differences are paired: of each run that arm and control share, on the same images. Their
    intervals come from a bootstrap that draws places and seeds with replacement, the same for both
    arms; a place is drawn with all its images, since neighbours are no independent witnesses.

    Args:
        runs: per arm the runs by (fold, seed).
        control: arm that the others are compared with.
        draws: of the bootstrap, at least 1.
        seed: of the draws.
        places: place of each image; an image without one is a place of its own.

    Raises:
        InputError: the control is missing, an arm has no run, or none in common with the control;
            paired runs tell of different images.
        ValueError: no draw.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if control not in runs:
        raise InputError(
            f"the control arm {control!r} has no captions; there are {', '.join(runs) or 'none'}."
        )
    rows = []
    for arm, own in runs.items():
        if not own:
            raise InputError(f"arm {arm!r} has no run; leave it out or finish it.")
        each = [run.values() for run in own.values()]
        columns = {name: np.array([values[name] for values in each]) for name in COLUMNS}
        rows.append(
            CaptionRow(
                arm=arm,
                runs=len(own),
                captions=sum(len(run.scores.ids) for run in own.values()),
                values={name: _mean(values) for name, values in columns.items()},
                spread={name: _deviation(values) for name, values in columns.items()},
                differences={}
                if arm == control
                else _differences(arm, own, runs[control], draws, seed, places or {}),
            )
        )
    return tuple(rows)


def _differences(
    arm: str,
    own: Mapping[Cell, CaptionRun],
    control: Mapping[Cell, CaptionRun],
    draws: int,
    seed: int,
    places: Mapping[str, str],
) -> dict[str, Estimate]:
    cells = sorted(own.keys() & control.keys())
    if not cells:
        raise InputError(
            f"arm {arm!r} shares no fold and seed with the control, so nothing can be paired."
        )
    for cell in cells:
        if own[cell].scores.ids != control[cell].scores.ids:
            raise InputError(
                f"arm {arm!r} and the control tell of different images in fold {cell[0]}, seed "
                f"{cell[1]}; caption the same ones."
            )
    place_of = {
        cell: np.array([places.get(key, f"image {key}") for key in own[cell].scores.ids])
        for cell in cells
    }
    names = np.unique(np.concatenate(list(place_of.values())))
    number_of = {cell: np.searchsorted(names, found) for cell, found in place_of.items()}
    seeds = sorted({cell[1] for cell in cells})
    random = generator_at(seed, "captions")
    observed = _paired(own, control, cells, None)
    drawn: list[dict[str, float]] = []
    for _ in range(draws):
        times = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
        drawn_seeds = random.choice(seeds, size=len(seeds))
        rows = {
            cell: np.repeat(np.arange(len(numbers)), times[numbers])
            for cell, numbers in number_of.items()
        }
        chosen = [cell for s in drawn_seeds for cell in cells if cell[1] == s and len(rows[cell])]
        if chosen:  # a draw may miss the places of every fold that its seeds have
            drawn.append(_paired(own, control, chosen, rows))
    found = {}
    for name, mean in observed.items():
        values = np.array([draw[name] for draw in drawn])
        values = values[~np.isnan(values)]
        if np.isnan(mean) or not len(values):
            continue
        low, high = np.percentile(values, _TAILS)
        found[name] = Estimate(mean, float(low), float(high))
    return found


def _paired(
    own: Mapping[Cell, CaptionRun],
    control: Mapping[Cell, CaptionRun],
    cells: Sequence[Cell],
    rows: Mapping[Cell, Int64Array] | None,
) -> dict[str, float]:
    """Mean difference over runs per column but redundancy; runs without a value are left out."""
    gaps: dict[str, list[float]] = {}
    for cell in cells:
        chosen = None if rows is None else rows[cell]
        mine, theirs = own[cell].values(chosen), control[cell].values(chosen)
        for name in COLUMNS[:-1]:
            gaps.setdefault(name, []).append(mine[name] - theirs[name])
    return {
        name: np.nan if (mean := _mean(np.array(values))) is None else mean
        for name, values in gaps.items()
    }


def _mean(values: Float64Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _deviation(values: Float64Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else None
