"""Cross-validation inside train: every train place is judged by models that never saw it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from terraloom.dataset.rows import Row, TrainRows, ValRows
from terraloom.demand.folds import Fold
from terraloom.files import read_json, write_json
from terraloom.seeds import derive_seed
from terraloom.segmenting import Recipe, evaluate, train_segmenter
from terraloom.types import Int64Array

_BATCH = 16


def cross_validate(
    folds: Sequence[Fold],
    added: Mapping[str, TrainRows],
    val: ValRows,
    recipe: Recipe,
    folder: Path,
    *,
    seeds: int,
    seed: int,
    fabric: Fabric,
    devices: int,
    description: str,
) -> Int64Array:
    """Train a network per fold and seed, and judge it on the fold.

    Args:
        folds: of the places of train.
        added: synthetic rows that join the real ones, by fold; none where a fold is left out.
        val: steers, as ever.
        recipe: equal for every round, images included.
        folder: receives a folder per cell, the unit of resume.
        seeds: networks per fold.
        seed: all cell seeds are derived from it; equal in every round, so that rounds are paired.
        fabric: device.
        devices: that share a batch.
        description: what the progress bar says.

    Returns:
        Confusion matrices "run place truth predicted", runs by seed, places in order of name.
    """
    runs: list[dict[str, list[list[int]]]] = []
    for index in range(seeds):
        by_place: dict[str, list[list[int]]] = {}
        for number, fold in enumerate(folds):
            path = folder / f"{fold.name}-{index}" / "result.json"
            if not path.exists():
                rows = fold.others
                if fold.name in added:
                    rows = rows + added[fold.name]
                trained = train_segmenter(
                    rows,
                    val,
                    recipe,
                    path.parent,
                    seed=derive_seed(seed, "cell", number, index),
                    fabric=fabric,
                    description=f"{description}, {fold.name}, seed {index}",
                    devices=devices,
                )
                found = evaluate(trained, _batches(fold.held))
                write_json(
                    path,
                    {
                        "rows": len(rows),
                        "images": trained.summary["images"],
                        "confusion": {name: m.tolist() for name, m in sorted(found.items())},
                    },
                )
            # What it was trained for is in the result; a round leaves folds × seeds of them.
            (path.parent / "weights.safetensors").unlink(missing_ok=True)
            by_place |= read_json(path)["confusion"]
        runs.append(by_place)
    places = sorted(runs[0])
    return np.array([[run[place] for place in places] for run in runs], dtype=np.int64)


def _batches(rows: TrainRows) -> Iterator[list[Row]]:
    for start in range(0, len(rows), _BATCH):
        yield [rows[i] for i in range(start, min(start + _BATCH, len(rows)))]
