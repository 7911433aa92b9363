"""Label noise of the labeller: what is really there where it names a class, on places it never saw.

The train places are dealt into folds; a labeller of the same recipe is trained on the others and
judged on each fold. So every train pixel is judged once by a labeller that never saw its place.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from lightning_fabric import Fabric

from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import ValRows, train_rows
from terraloom.dataset.train_folds import deal_train_places
from terraloom.files import read_json, write_json
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import Recipe, evaluate, train_segmenter
from terraloom.tables import Table
from terraloom.types import Int64Array

LABEL_NOISE: Final = "label-noise.json"
_DRAWS: Final = 2_000
_BATCH: Final = 16


def estimate_label_noise(
    real: Table,
    val: ValRows,
    recipe: Recipe,
    folder: Path,
    *,
    folds: int,
    seed: int,
    fabric: Fabric,
    devices: int = 1,
    cache: RowCache | None = None,
) -> dict[str, Any]:
    """Train one labeller per fold of the train places and count its errors there.

    Each training resumes what stands in `folder`; a finished result is read, not made again.

    Args:
        real: real samples; train rows are used, val steers as ever, test is not touched.
        val: rows that choose each checkpoint.
        recipe: of the labeller.
        folder: receives `fold-N/` and `label-noise.json`.
        folds: 2 or more.
        seed: of the dealing and of every training.
        fabric: device.
        devices: as in `train_segmenter`.
        cache: how rows are held.

    Returns:
        The file's content: `confusion` "truth predicted" in pixels; `wrong` per predicted class,
        the share of its pixels that are something else, with a 95 % interval over places (bootstrap
        of 2,000 draws), its pixels and the places in which it is named; the same for all pixels
        (`wrong_of_all`); numbers of folds, places and pixels.

    Raises:
        NothingLeft: there are fewer train places than folds.
    """
    path = folder / LABEL_NOISE
    if path.exists():
        stored: dict[str, Any] = read_json(path)
        return stored
    dealt = deal_train_places(
        real,
        folds,
        generator_at(seed, "label noise folds"),
        f"segment.noise_folds = {folds}",
    )
    by_place: dict[str, Int64Array] = {}
    for number, fold in enumerate(dealt):
        trained = train_segmenter(
            train_rows(real, only=fold.others, cache=cache),
            val,
            recipe,
            folder / f"fold-{number}",
            seed=derive_seed(seed, "label noise", number),
            fabric=fabric,
            description=f"label noise, fold {number + 1} of {folds}",
            devices=devices,
        )
        judged = train_rows(real, only=fold.held, cache=cache)
        batches = (
            [judged[i] for i in range(start, min(start + _BATCH, len(judged)))]
            for start in range(0, len(judged), _BATCH)
        )
        by_place |= evaluate(trained, batches)
    matrices = np.stack([by_place[place] for place in sorted(by_place)])
    found = {"folds": folds, "places": len(matrices), **noise_figures(matrices, seed)}
    write_json(path, found)
    return found


def noise_figures(matrices: Int64Array, seed: int) -> dict[str, Any]:
    """Shares of wrong labels, with intervals, of confusion matrices "place truth predicted"."""
    total = matrices.sum(axis=0)
    random = generator_at(seed, "label noise bootstrap")
    drawn = random.multinomial(len(matrices), np.full(len(matrices), 1 / len(matrices)), _DRAWS)
    right = matrices.diagonal(axis1=1, axis2=2)
    named = matrices.sum(axis=1)
    per_class = []
    for label in range(total.shape[0]):
        per_class.append(_share(right[:, label], named[:, label], drawn))
    return {
        "confusion": total.tolist(),
        "pixels": int(total.sum()),
        "wrong": per_class,
        "wrong_of_all": _share(right.sum(axis=1), named.sum(axis=1), drawn),
    }


def _share(right: Int64Array, named: Int64Array, drawn: Int64Array) -> dict[str, Any]:
    """Share of pixels that are not what they are named; None where the class is never named."""
    if not named.sum():
        return {"mean": None, "low": None, "high": None, "pixels": 0, "places": 0}
    with np.errstate(invalid="ignore"):
        shares = 1.0 - (drawn @ right) / (drawn @ named)
    low, high = np.nanquantile(shares, (0.025, 0.975))
    return {
        "mean": round(float(1.0 - right.sum() / named.sum()), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
        "pixels": int(named.sum()),
        "places": int((named > 0).sum()),
    }
