"""Trains on every slice of a project's pool, and asks which score put the slices in order.

A cell is one training on the real train rows and one slice (or on the real rows alone: the
control), at equal images, schedule and seed. Cells are the unit of resume. What a slice is worth is
read on val, since it is a choice among recipes; test is not looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import Row, TrainRows, ValRows, train_rows, val_rows
from terraloom.errors import InputError
from terraloom.estimates import training_seconds
from terraloom.files import check_writable, read_json, sha256_of_value, write_json, write_text
from terraloom.learning.confusion import figures_of
from terraloom.progress import console, meter
from terraloom.seeds import derive_seed
from terraloom.segmenting import Recipe, evaluate, load_segmenter, train_segmenter
from terraloom.slice_study.measures import measure_slices
from terraloom.slice_study.slices import (
    Pool,
    Slice,
    cut_slices,
    default_rows,
    overlap,
    read_pool,
)
from terraloom.stages import Context
from terraloom.tables import MANIFEST, Table
from terraloom.types import Float64Array
from terraloom.usefulness import Score, rank_scores

RESULT: Final = "which-score.json"
TABLE: Final = "slices.csv"
SLICES: Final = "slices.json"
"""Which samples each slice holds."""
FOLDER: Final = "which-score"
CONTROL: Final = "control"
_LOCK: Final = "study.json"
_BATCH: Final = 16


@dataclass(frozen=True)
class StudyPlan:
    """What is asked for."""

    slices: int = 24
    seeds: int = 2
    rows: int | None = None
    """Samples of a slice; left out, a quarter of the pool."""
    images: int | None = None
    """That each cell trains on; left out, the benchmark's."""

    def __post_init__(self) -> None:
        for name, least in (("slices", 2), ("seeds", 1), ("rows", 1), ("images", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name} {value} is too small; at least {least} is needed.")


@dataclass(frozen=True)
class StudyEstimate:
    """What a study would do."""

    cells: int
    done: int
    images: int
    rows: int
    pool: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def estimate_study(context: Context, out: Path, plan: StudyPlan) -> StudyEstimate:
    """Cells, images and seconds that are left on two cores; writes nothing."""
    pool = _pool(context)
    recipe = _recipe(context, plan, 0)
    # The control has a cell per seed as well.
    cells = (plan.slices + 1) * plan.seeds
    done = len(list((out / "cells").glob("*/result.json")))
    seconds = max(cells - done, 0) * training_seconds(recipe.architecture, recipe.training)
    rows = plan.rows or default_rows(pool)
    return StudyEstimate(cells, done, recipe.training.images, rows, len(pool), seconds)


def run_study(context: Context, out: Path, plan: StudyPlan) -> dict[str, Any]:
    """Train every cell that is missing, then correlate scores and gains.

    Args:
        context: of a project whose stages are done up to score; only read.
        out: receives study.json (the locked design), slices.json (ids), cells/, features/,
            which-score.json and slices.csv.
        plan: slices, seeds, rows, images.

    Returns:
        The content of which-score.json.

    Raises:
        StageMissing: the project is not scored yet.
        InputError: `out` holds another study, or the pool is too small.
    """
    real = context.table("build", "samples")
    synthetic = context.table("label", "samples")
    pool = _pool(context)
    rows = plan.rows or default_rows(pool)
    # Never into the project, which is only read.
    held = context.settings.project
    cache = RowCache(out / "cache", held.cache, held.cache_gb)
    train, val = train_rows(real, cache=cache), val_rows(real, cache=cache)
    recipe = _recipe(context, plan, len(train))
    seed = derive_seed(context.seed, "which score")
    check_writable(out)
    lock = {
        "plan": {**asdict(plan), "rows": rows},
        "recipe": recipe.to_json(),
        "seed": seed,
        "inputs": {
            "real": real.sha256,
            "synthetic": synthetic.sha256,
            "scores": context.table("score", "scores", "synthetic").sha256,
        },
    }
    _lock(out, lock)
    slices = cut_slices(pool, plan.slices, rows, seed)
    write_json(out / SLICES, {made.name: list(made.ids) for made in slices})
    segmenter = load_segmenter(context.path("segment", "labeller"), context.fabric)
    scores = measure_slices(slices, pool, real, synthetic, segmenter, out / "features", seed)
    f1 = {name: np.zeros(plan.seeds) for name in (CONTROL, *(made.name for made in slices))}
    total = len(f1) * plan.seeds
    with meter("training on slices", total, "cells") as progress:
        for index in range(plan.seeds):
            for made in (None, *slices):
                name = CONTROL if made is None else made.name
                f1[name][index] = _cell(
                    context, made, train, val, recipe, out / "cells" / f"{name}-{index}",
                    derive_seed(seed, "cell", index),
                )  # fmt: skip
                progress.advance(note=name)
    found = _judged(slices, scores, f1, val, recipe, lock, len(train))
    write_text(out / TABLE, _as_csv(found))
    write_json(out / RESULT, found)
    return found


def _pool(context: Context) -> Pool:
    verdicts = context.path("curate", "verdicts")
    return read_pool(
        context.table("build", "samples"),
        context.table("label", "samples"),
        context.table("score", "scores", "synthetic"),
        Table.open(verdicts) if (verdicts / MANIFEST).exists() else None,
        context.classes.names,
    )


def _recipe(context: Context, plan: StudyPlan, rows: int) -> Recipe:
    """The benchmark's first architecture at its budget, or at the one asked for."""
    settings = context.settings.benchmark
    architecture = settings.architectures[0]
    images = plan.images or settings.training.budget(rows)
    return Recipe(
        architecture,
        context.settings.options("segmenters", architecture),
        settings.preset,
        len(context.classes),
        settings.training.model_copy(update={"images": images, "epochs": None}),
    )


def _lock(out: Path, lock: Mapping[str, Any]) -> None:
    """Write the design, or make sure that the same one is there."""
    path = out / _LOCK
    digest = sha256_of_value(dict(lock))
    if not path.exists():
        write_json(path, {"sha256": digest, **lock})
        return
    stored = read_json(path)
    if stored["sha256"] == digest:
        return
    changed = sorted(
        f"{section}.{key}"
        for section in ("plan", "recipe", "inputs")
        for key in stored[section].keys() | lock[section].keys()
        if stored[section].get(key) != lock[section].get(key)
    )
    raise InputError(
        f"{out} holds a study of another design (it differs in {', '.join(changed) or 'seed'}). "
        "Give another --out, or delete that folder."
    )


def _cell(
    context: Context,
    made: Slice | None,
    train: TrainRows,
    val: ValRows,
    recipe: Recipe,
    folder: Path,
    seed: int,
) -> float:
    """Macro F1 on val of one training."""
    path = folder / "result.json"
    if path.exists():
        return float(read_json(path)["val_f1"])
    rows = train
    if made is not None:
        rows = train + train_rows(
            context.table("label", "samples"),
            real=context.table("build", "samples"),
            only=made.ids,
        )
    trained = train_segmenter(
        rows,
        val,
        recipe,
        folder,
        seed=seed,
        fabric=context.fabric,
        description=folder.name,
        devices=context.settings.project.devices,
    )
    by_place = evaluate(trained, _batches(val))
    f1 = round(float(figures_of(np.sum(list(by_place.values()), axis=0)).macro("f1")), 6)
    write_json(
        path,
        {
            "rows": len(rows),
            "images": trained.summary["images"],
            "best_images": trained.summary["best_images"],
            "val_f1": f1,
            "confusion": {place: matrix.tolist() for place, matrix in sorted(by_place.items())},
        },
    )
    # Dozens of networks that nobody will use again.
    (folder / "weights.safetensors").unlink()
    return f1


def _batches(val: ValRows) -> Iterator[list[Row]]:
    for start in range(0, len(val), _BATCH):
        yield [val[i] for i in range(start, min(start + _BATCH, len(val)))]


def _judged(
    slices: Sequence[Slice],
    scores: Sequence[Score],
    f1: Mapping[str, Float64Array],
    val: ValRows,
    recipe: Recipe,
    lock: Mapping[str, Any],
    real_rows: int,
) -> dict[str, Any]:
    gains = np.stack([f1[made.name] - f1[CONTROL] for made in slices])
    ranking = rank_scores(scores, gains, seed=lock["seed"])
    return {
        "design": {
            "slices": len(slices),
            "rows": lock["plan"]["rows"],
            "real_rows": real_rows,
            "runs": gains.shape[1],
            "architecture": recipe.architecture,
            "images": recipe.training.images,
            "val_rows": len(val),
            "val_places": len({row.place or row.id for row in val.rows}),
            "overlap": round(overlap(slices), 4),
            "study_sha256": sha256_of_value(dict(lock)),
        },
        "control": [round(float(v), 5) for v in f1[CONTROL]],
        "slices": [
            {
                "name": made.name,
                "kind": made.kind,
                "told": made.told,
                "gains": [round(float(v), 5) for v in own],
                "gain": round(float(own.mean()), 5),
                "scores": {
                    score.name: round(float(score.values[index]), 5)
                    if np.isfinite(score.values[index])
                    else None
                    for score in scores
                },
            }
            for index, (made, own) in enumerate(zip(slices, gains, strict=True))
        ],
        "ranking": ranking.to_json(),
    }


def _as_csv(found: Mapping[str, Any]) -> str:
    """One line per slice: gains of each run, and every score."""
    names = list(found["slices"][0]["scores"])
    runs = range(found["design"]["runs"])
    lines = [",".join(["slice", "kind", *(f"gain_{i}" for i in runs), *names])]
    for row in found["slices"]:
        values = [*row["gains"], *(row["scores"][name] for name in names)]
        told = ("" if value is None else repr(value) for value in values)
        lines.append(",".join([row["name"], row["kind"], *told]))
    return "\n".join(lines) + "\n"


def tell_plan(estimate: StudyEstimate) -> None:
    """One line before the work begins."""
    console.print(
        f"{estimate.cells} cells of {estimate.images:,} images ({estimate.done} done), slices of "
        f"{estimate.rows} of {estimate.pool} samples",
        soft_wrap=True,
    )
