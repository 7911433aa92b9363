"""Which classes are weak, from cross-validation inside train, and how samples are shared out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from terraloom.types import Int64Array
from terraloom.verdict import Bootstrap, Estimate

DRAWS: Final = 2_000


@dataclass(frozen=True)
class ClassFigure:
    """How well one class is found on train places held back."""

    name: str
    label: int
    f1: Estimate
    """Mean over runs, 95 % interval over places and runs."""
    pixels: int
    """That are of the class."""
    places: int
    """That show it."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "class": self.name,
            "label": self.label,
            "f1": self.f1.to_json(),
            "pixels": self.pixels,
            "places": self.places,
        }


@dataclass(frozen=True)
class Demand:
    """Samples that are asked for to strengthen one class."""

    name: str
    label: int
    samples: int


def class_figures(
    confusion: Int64Array, class_names: Sequence[str], seed: int, draws: int = DRAWS
) -> list[ClassFigure]:
    """F1 of every class that the truth shows, in label order.

    Args:
        confusion: "run place truth predicted"; each place judged by a model that never saw it.
        class_names: in label order.
        seed: of the bootstrap.
        draws: of places and runs.
    """
    bootstrap = Bootstrap({"own": confusion}, draws=draws, seed=seed)
    observed = bootstrap.observed("own")["f1/class"]
    drawn = bootstrap.drawn("own")["f1/class"]
    truth = confusion[0].sum(axis=2)
    found = []
    for label, name in enumerate(class_names):
        if not truth[:, label].sum():
            continue
        # A draw of places without the class says nothing of it.
        own = drawn[:, label][~np.isnan(drawn[:, label])]
        low, high = np.percentile(own, [2.5, 97.5])
        mean = float(np.nanmean(observed[:, label]))
        found.append(
            ClassFigure(
                name,
                label,
                Estimate(mean, float(low), float(high)),
                int(truth[:, label].sum()),
                int((truth[:, label] > 0).sum()),
            )
        )
    return found


def macro_f1(confusion: Int64Array, seed: int, draws: int = DRAWS) -> Estimate:
    """Macro F1 with its interval, of matrices as in `class_figures`."""
    return Bootstrap({"own": confusion}, draws=draws, seed=seed).estimate("own", "f1")


def gain(
    after: Int64Array, before: Int64Array, seed: int, draws: int = DRAWS
) -> tuple[Estimate, float]:
    """Gain of macro F1, paired by place and run, and the smallest that would have been seen."""
    bootstrap = Bootstrap({"after": after, "before": before}, draws=draws, seed=seed)
    return bootstrap.difference("after", "before", "f1")


def weak_classes(figures: Sequence[ClassFigure], most: int) -> list[ClassFigure]:
    """Classes whose F1 lies below the mean over classes, the weakest first, at most so many."""
    if not figures:
        return []
    mean = float(np.mean([figure.f1.mean for figure in figures]))
    weak = [figure for figure in figures if figure.f1.mean < mean]
    return sorted(weak, key=lambda figure: (figure.f1.mean, figure.label))[:most]


def share_out(weak: Sequence[ClassFigure], samples: int) -> list[Demand]:
    """Share samples out by what each class lacks, 1 − F1; the numbers sum to `samples`."""
    if not weak:
        return []
    lacks = np.array([1.0 - figure.f1.mean for figure in weak])
    exact = samples * lacks / lacks.sum()
    counts = np.floor(exact).astype(int)
    # What rounding left over goes to the largest remainders.
    for index in np.argsort(-(exact - counts), kind="stable")[: samples - counts.sum()]:
        counts[index] += 1
    return [
        Demand(figure.name, figure.label, int(count))
        for figure, count in zip(weak, counts, strict=True)
        if count
    ]
