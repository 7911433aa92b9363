"""Face of the benchmark stage: arms by architectures by seeds, equal budgets, one look at test.

A cell is one training of one arm; cells are the unit of resume. Every arm sees the same number of
images at the same schedule and checks; only rows (and, for "real-strong", augmentation) differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from terraloom.arms import ARMS, RECORDED, Arm, is_control
from terraloom.classes import ClassTable
from terraloom.controls import record_controls, strongest_recorded
from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import TrainRows, ValRows, stream_rows, train_rows, val_rows
from terraloom.errors import NothingLeft
from terraloom.files import read_json, sha256_of_value, write_json
from terraloom.ledger import record_look
from terraloom.progress import console
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import Recipe, evaluate, train_segmenter
from terraloom.settings import BenchmarkSettings
from terraloom.tables import Table
from terraloom.types import MASK_FIRST, Int64Array
from terraloom.verdict import (
    METRICS,
    Bootstrap,
    class_statements,
    false_alarm_rate,
    sentence,
    word_of,
)


@dataclass(frozen=True)
class Inputs:
    """What the arms are made of."""

    real: Table
    synthetic: Table
    kept: frozenset[str]
    """Ids of curated synthetic samples."""
    cache: RowCache | None = None
    """How training rows are held; None keeps them in memory."""


def run_benchmark(
    inputs: Inputs,
    folder: Path,
    *,
    classes: ClassTable,
    settings: BenchmarkSettings,
    options: Mapping[str, Mapping[str, Any]],
    ledger: Path,
    controls: Path,
    seed: int,
    fabric: Fabric,
    devices: int = 1,
) -> dict[str, Any]:
    """Train every cell that is missing, look at test once per cell, and judge.

    Args:
        inputs: real and synthetic tables, and which synthetic samples were kept.
        folder: receives cells/, recipe.json and results.json.
        classes: class table.
        settings: arms, architectures, seeds, budget.
        options: of segmenters by name.
        ledger: file that every look at test is appended to; outlives the stage's folder.
        controls: folder of the project's recorded controls; outlives the stage's folder too.
        seed: all cell seeds are derived from it.
        fabric: device.
        devices: that share each batch, as in `train_segmenter`.

    Returns:
        The content of results.json.
    """
    # Arms may lack rows (a generator whose samples were all rejected): said, and left out.
    rows = _rows_by_arm(inputs, settings.arms, seed)
    missing = [name for name in settings.arms if name not in rows]
    for name in missing:
        console.print(f"[yellow]arm {name} is left out: it has no synthetic row to train on[/]")
    val = val_rows(inputs.real, cache=inputs.cache)
    real_rows = train_rows(inputs.real, cache=inputs.cache)
    # Every arm sees as many images as the real rows decide, whatever its own number of rows.
    training = settings.training.model_copy(
        update={"images": settings.training.budget(len(real_rows)), "epochs": None}
    )
    recipe = {
        "settings": settings.model_dump(mode="json"),
        "options": {name: dict(options.get(name, {})) for name in settings.architectures},
        "classes": list(classes.names),
        "inputs": {
            "real": inputs.real.sha256,
            "synthetic": inputs.synthetic.sha256,
            "kept": sha256_of_value(sorted(inputs.kept)),
        },
        "seed": seed,
    }
    recipe_sha256 = sha256_of_value(recipe)
    write_json(folder / "recipe.json", {"sha256": recipe_sha256, **recipe})
    cells: list[dict[str, Any]] = []
    total = len(rows) * len(settings.architectures) * settings.seeds
    for architecture in settings.architectures:
        for index in range(settings.seeds):
            for name, train in rows.items():
                number = f"cell {len(cells) + 1}/{total}"
                cells.append(
                    _run_cell(
                        ARMS[name],
                        train,
                        val,
                        inputs.real,
                        Recipe(
                            architecture,
                            options.get(architecture, {}),
                            settings.preset,
                            len(classes),
                            training,
                        ),
                        folder / "cells" / f"{architecture}-{name}-{index}",
                        ledger=ledger,
                        recipe_sha256=recipe_sha256,
                        seed=derive_seed(seed, "cell", architecture, index),
                        index=index,
                        fabric=fabric,
                        devices=devices,
                        description=f"{number} {name} {architecture} seed {index}",
                    )
                )
    setting = {
        "real": inputs.real.sha256,
        "images": training.images,
        "crop_size": training.crop_size,
    }
    recorded = strongest_recorded(controls, cells, setting, recipe_sha256)
    if recorded:
        console.print(f"a stronger control of an earlier recipe counts: {recorded[0]['arm']}")
    record_controls(controls, cells, setting, recipe_sha256)
    settings = settings.model_copy(update={"training": training})
    results = judge([*cells, *recorded], classes.names, settings, seed)
    results["recipe_sha256"] = recipe_sha256
    results["missing_arms"] = missing
    results["rows"] = {name: len(train) for name, train in rows.items()}
    write_json(folder / "results.json", results)
    return results


def judge(
    cells: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    settings: BenchmarkSettings,
    seed: int,
) -> dict[str, Any]:
    """Tables, paired differences and verdicts of finished cells.

    Args:
        cells: as `_run_cell` returns them, with a confusion matrix per test place; recorded
            controls under their own arm name.
        class_names: in label order.
        settings: arms and draws.
        seed: of the bootstrap.
    """
    arms = [name for name in settings.arms if any(cell["arm"] == name for cell in cells)]
    arms += sorted({cell["arm"] for cell in cells if cell["arm"].startswith(RECORDED)})
    places = sorted(cells[0]["confusion"])
    scopes = [("all", tuple(settings.architectures))] if len(settings.architectures) > 1 else []
    scopes += [(name, (name,)) for name in settings.architectures]
    table, differences, per_class, verdicts = [], [], [], []
    for scope, architectures in scopes:
        matrices = {arm: _stack(cells, arm, architectures, places) for arm in arms}
        bootstrap = Bootstrap(matrices, draws=settings.draws, seed=seed)
        controls = [arm for arm in arms if is_control(arm)]
        for arm in arms:
            table.append(_table_row(bootstrap, arm, scope, class_names))
        for arm in arms:
            if is_control(arm):
                continue
            against = {c: bootstrap.difference(arm, c, "f1") for c in controls}
            for control in controls:
                for metric in METRICS:
                    estimate, smallest = bootstrap.difference(arm, control, metric)
                    differences.append(
                        {
                            "architecture": scope,
                            "arm": arm,
                            "control": control,
                            "metric": metric,
                            **estimate.to_json(),
                            "minimum_detectable": round(smallest, 5),
                        }
                    )
            best = max(controls, key=lambda c: bootstrap.estimate(c, "f1").mean)
            for row in class_statements(bootstrap, arm, best, class_names):
                per_class.append({"architecture": scope, "arm": arm, "control": best, **row})
            word = word_of([estimate for estimate, _ in against.values()])
            verdicts.append(
                {
                    "architecture": scope,
                    "arm": arm,
                    "verdict": word,
                    "sentence": sentence(arm, word, against),
                }
            )
    first_control = next(arm for arm in arms if is_control(arm))
    truth = _stack(cells, first_control, scopes[0][1], places)
    return {
        "design": {
            "arms": arms,
            "architectures": list(settings.architectures),
            "segmenter_seeds": settings.seeds,
            "generator_seeds": 1,
            "images_per_cell": settings.training.images,
            "test_places": len(places),
            "test_pixels": int(truth[0].sum()),
            "classes": list(class_names),
            "absent_classes": [
                name
                for label, name in enumerate(class_names)
                if truth[0].sum(axis=0)[label].sum() == 0
            ],
            "draws": settings.draws,
        },
        "table": table,
        "differences": differences,
        "per_class": per_class,
        "verdicts": verdicts,
        "sentence": _overall(verdicts, scopes[0][0]),
        "aa": {
            "arm": first_control,
            "rate": round(false_alarm_rate(truth, seed=seed), 4),
            "limit": 0.05,
        },
        "cells": [
            {key: value for key, value in cell.items() if key != "confusion"} for cell in cells
        ],
    }


def _rows_by_arm(inputs: Inputs, arms: Sequence[str], seed: int) -> dict[str, TrainRows]:
    """Training rows per arm; an arm without any synthetic row that it asks for is left out."""
    real = train_rows(inputs.real, cache=inputs.cache)
    origins = {
        row["id"]: row["origin"] for row in inputs.synthetic.read(["id", "origin"]).to_pylist()
    }
    kept = sorted(name for name in origins if name in inputs.kept)
    everything = sorted(origins)
    drawn = generator_at(seed, "unfiltered").permutation(len(everything))[: len(kept)]
    groups = {
        "conditional": [name for name in kept if origins[name] in MASK_FIRST],
        "unconditional": [name for name in kept if origins[name] == "unconditional"],
        "unfiltered": sorted(everything[i] for i in drawn),
    }
    rows: dict[str, TrainRows] = {}
    for name in arms:
        wanted = [kind for kind in ARMS[name].rows if kind != "real"]
        ids = [i for kind in wanted for i in groups[kind]]
        parts = [real] if "real" in ARMS[name].rows else []
        if wanted and not ids:
            continue
        if ids:
            synthetic = train_rows(inputs.synthetic, real=inputs.real, only=ids, cache=inputs.cache)
            parts.append(synthetic)
        joined = parts[0]
        for part in parts[1:]:
            joined = joined + part
        rows[name] = joined
    if not any(is_control(name) for name in rows):
        raise NothingLeft("the benchmark has no control arm left.")
    return rows


def _run_cell(
    arm: Arm,
    train: TrainRows,
    val: ValRows,
    real: Table,
    recipe: Recipe,
    folder: Path,
    *,
    ledger: Path,
    recipe_sha256: str,
    seed: int,
    index: int,
    fabric: Fabric,
    devices: int,
    description: str,
) -> dict[str, Any]:
    path = folder / "result.json"
    if path.exists():
        result: dict[str, Any] = read_json(path)
        return result
    if arm.strong:
        training = recipe.training.model_copy(update={"augment": "strong"})
        recipe = Recipe(
            recipe.architecture, recipe.options, recipe.preset, recipe.num_classes, training
        )
    trained = train_segmenter(
        train,
        val,
        recipe,
        folder,
        seed=seed,
        fabric=fabric,
        description=description,
        devices=devices,
    )
    # The ledger is written before the look: a look that was cut off still counts.
    record_look(ledger, recipe_sha256, folder.name)
    confusion = evaluate(trained, stream_rows(real, "test"))
    result = {
        "arm": arm.name,
        "architecture": recipe.architecture,
        "seed": index,
        "rows": len(train),
        "images": trained.summary["images"],
        "best_images": trained.summary["best_images"],
        "val_f1": trained.summary["best_val_f1"],
        "confusion": {place: matrix.tolist() for place, matrix in sorted(confusion.items())},
    }
    write_json(path, result)
    return result


def _stack(
    cells: Sequence[Mapping[str, Any]],
    arm: str,
    architectures: Sequence[str],
    places: Sequence[str],
) -> Int64Array:
    """Confusion matrices of an arm, "run place truth predicted", runs by architecture and seed."""
    chosen = sorted(
        (cell for cell in cells if cell["arm"] == arm and cell["architecture"] in architectures),
        key=lambda cell: (cell["architecture"], cell["seed"]),
    )
    return np.array(
        [[cell["confusion"][place] for place in places] for cell in chosen], dtype=np.int64
    )


def _table_row(
    bootstrap: Bootstrap, arm: str, scope: str, class_names: Sequence[str]
) -> dict[str, Any]:
    observed = bootstrap.observed(arm)
    row: dict[str, Any] = {
        "architecture": scope,
        "arm": arm,
        "runs": len(observed["f1"]),
        "f1_per_run": [round(float(v), 5) for v in observed["f1"]],
        "accuracy": round(float(observed["accuracy"].mean()), 5),
    }
    for metric in METRICS:
        row[metric] = bootstrap.estimate(arm, metric).to_json()
        values = observed[f"{metric}/class"]
        known = ~np.isnan(values)
        row[f"{metric}_per_class"] = {
            name: round(float(values[known[:, label], label].mean()), 5)
            if known[:, label].any()
            else None
            for label, name in enumerate(class_names)
        }
    return row


def _overall(verdicts: Sequence[Mapping[str, Any]], scope: str) -> str:
    """One sentence for the run: the verdict of the arm that joins real and synthetic rows."""
    own = [v for v in verdicts if v["architecture"] == scope]
    mixed = [v for v in own if v["arm"].startswith("real+")] or own
    if not mixed:
        return "No arm with synthetic rows was run, so there is no verdict."
    chosen = next((v for v in mixed if v["arm"] == "real+both"), mixed[-1])
    return str(chosen["sentence"])
