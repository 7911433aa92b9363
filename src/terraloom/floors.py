"""Sanity floors: what a network must beat to have learned anything that matters.

Two baselines, fitted on pixels drawn from train rows: the class that most of them have, everywhere;
and a random forest that sees one pixel at a time, its colour and nothing around it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from terraloom.classes import UNKNOWN
from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import Row, TrainRows, stream_rows, train_rows
from terraloom.errors import RoleError
from terraloom.files import read_json, write_json
from terraloom.learning.confusion import confusion_of, figures_of
from terraloom.ledger import record_look
from terraloom.seeds import derive_seed, generator_at
from terraloom.tables import Table
from terraloom.types import ImageU8, Int64Array, LabelMask

FLOORS: Final = "floors.json"
PIXELS: Final = 20_000
"""Train pixels that the forest is fitted on, whatever the number of rows."""
TREES: Final = 40
_LEAF: Final = 4
_STEPS: Final = 6
"""Bits per channel: 262,144 colours in all, so that each is predicted at most once."""


def measure_floors(
    train: TrainRows,
    judged: Iterable[Sequence[Row]],
    class_names: Sequence[str],
    path: Path,
    *,
    role: str,
    seed: int,
    pixels: int = PIXELS,
) -> dict[str, Any]:
    """Fit both floors on train, judge them, and write what was found to `path`.

    Memory does not grow with the rows: the forest sees a fixed number of pixels, and of what is
    judged one batch is held at a time. A file that stands is read, not made again.

    Args:
        train: rows fitted on.
        judged: batches of the rows that are judged, val or test.
        class_names: in label order.
        path: of the JSON file.
        role: of the judged rows, for the record.
        seed: of the drawn pixels and the forest; equal seeds give equal bytes.
        pixels: that the forest is fitted on, at most.

    Returns:
        The content of the file: macro F1, IoU, precision, recall and accuracy (0 … 1) of "majority"
        and "forest", over the classes present in truth or prediction, F1 per class, and counts.

    Raises:
        RoleError: `train` is not of the type that may be fitted on.
    """
    if not isinstance(train, TrainRows):
        raise RoleError("a floor is fitted on TrainRows only.")
    if path.exists():
        stored: dict[str, Any] = read_json(path)
        return stored
    colours, labels, counts = _drawn_pixels(train, len(class_names), pixels, seed)
    majority = int(counts.argmax())
    forest = _Forest(colours, labels, seed)
    totals = {name: np.zeros((len(class_names),) * 2, dtype=np.int64) for name in _NAMES}
    for rows in judged:
        for row in rows:
            everywhere = np.full_like(row.mask, majority)
            for name, predicted in (("majority", everywhere), ("forest", forest.labels(row.image))):
                totals[name] += confusion_of(row.mask, predicted, len(class_names))
    found = {
        "role": role,
        "majority_class": class_names[majority],
        "train_pixels": len(labels),
        "trees": TREES,
        "judged_pixels": int(totals["majority"].sum()),
        "floors": {name: _figures(total, class_names) for name, total in totals.items()},
    }
    write_json(path, found)
    return found


def floors_on_test(
    real: Table,
    class_names: Sequence[str],
    path: Path,
    *,
    ledger: Path,
    recipe_sha256: str,
    seed: int,
    cache: RowCache | None = None,
) -> dict[str, Any]:
    """`measure_floors` on the test rows, as one more look of a locked recipe.

    Args:
        real: the real samples.
        class_names: in label order.
        path: of the JSON file.
        ledger: that the look is appended to before it happens.
        recipe_sha256: of the locked recipe.
        seed: as in `measure_floors`.
        cache: how train rows are held; left out, in memory.
    """
    if not path.exists():
        record_look(ledger, recipe_sha256, "floors")
    return measure_floors(
        train_rows(real, cache=cache),
        stream_rows(real, "test"),
        class_names,
        path,
        role="test",
        seed=seed,
    )


def unbeaten(floors: Mapping[str, Any], f1: float) -> list[str]:
    """Floors whose macro F1 is at least `f1` (0 … 1), by name."""
    return [name for name, entry in floors["floors"].items() if entry["f1"] >= f1]


_NAMES: Final = ("majority", "forest")


class _Forest:
    """Labels by colour alone, through a table that is filled as colours come."""

    def __init__(self, colours: NDArray[np.int64], labels: LabelMask, seed: int) -> None:
        from sklearn.ensemble import RandomForestClassifier

        self._forest = RandomForestClassifier(
            TREES,
            min_samples_leaf=_LEAF,
            random_state=derive_seed(seed, "forest") % 2**32,
            n_jobs=1,
        ).fit(_channels(colours), labels)
        self._table = np.full(1 << 3 * _STEPS, UNKNOWN, dtype=np.uint8)

    def labels(self, image: ImageU8) -> LabelMask:
        """Labels "height width" of an image "height width 3"."""
        colours = _colours(image)
        asked = np.zeros(len(self._table), dtype=np.bool_)
        asked[colours] = True
        new = np.flatnonzero(asked & (self._table == UNKNOWN))
        if len(new):
            self._table[new] = self._forest.predict(_channels(new))
        found: LabelMask = self._table[colours]
        return found


def _drawn_pixels(
    train: TrainRows, num_classes: int, pixels: int, seed: int
) -> tuple[NDArray[np.int64], LabelMask, Int64Array]:
    """Colours and labels of known pixels, about as many of each drawn row; counts of all labels."""
    random = generator_at(seed, "floor pixels")
    drawn = random.permutation(len(train))[:pixels]
    each = -(-pixels // len(drawn))
    colours, labels = [], []
    for index in np.sort(drawn):
        row = train[int(index)]
        known = np.flatnonzero(row.mask.ravel() < num_classes)
        chosen = known[random.permutation(len(known))[:each]]
        colours.append(_colours(row.image).ravel()[chosen])
        labels.append(row.mask.ravel()[chosen])
    kept = np.sort(random.permutation(sum(map(len, labels)))[:pixels])
    joined: LabelMask = np.concatenate(labels)[kept]
    return np.concatenate(colours)[kept], joined, np.bincount(joined, minlength=num_classes)


def _colours(image: ImageU8) -> NDArray[np.int64]:
    """One number per pixel."""
    red, green, blue = np.moveaxis(image >> (8 - _STEPS), -1, 0).astype(np.int64)
    colours: NDArray[np.int64] = (red << 2 * _STEPS) | (green << _STEPS) | blue
    return colours


def _channels(colours: NDArray[np.int64]) -> NDArray[np.float32]:
    """Colours as rows of three values, "colour 3"."""
    part = (1 << _STEPS) - 1
    split = [(colours >> shift) & part for shift in (2 * _STEPS, _STEPS, 0)]
    return np.stack(split, axis=1).astype(np.float32)


def _figures(total: Int64Array, class_names: Sequence[str]) -> dict[str, Any]:
    figures = figures_of(total)
    names = ("f1", "iou", "precision", "recall")
    return {
        **{name: round(float(figures.macro(name)), 5) for name in names},
        "accuracy": round(float(figures.accuracy), 5),
        "f1_per_class": {
            name: None if np.isnan(value) else round(float(value), 5)
            for name, value in zip(class_names, figures.f1, strict=True)
        },
    }
