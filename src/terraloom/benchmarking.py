"""Face of the benchmark stage: arms by architectures by seeds, equal budgets, one look at test.

A cell is one training of one arm; cells are the unit of resume. Every arm sees the same number of
images at the same schedule and checks; only rows (and, for "real-strong", augmentation) differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from terraloom.arm_rows import Inputs, rows_by_arm
from terraloom.arms import Arm, arm_named
from terraloom.classes import ClassTable
from terraloom.controls import record_controls, strongest_recorded
from terraloom.dataset.rows import TrainRows, ValRows, stream_rows, train_rows, val_rows
from terraloom.files import read_json, sha256_of_value, write_json
from terraloom.judging import judge
from terraloom.ledger import record_look
from terraloom.progress import console
from terraloom.seeds import derive_seed
from terraloom.segmenting import Recipe, evaluate, train_segmenter
from terraloom.settings import BenchmarkSettings
from terraloom.tables import Table

__all__ = ["Inputs", "judge", "run_benchmark"]


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
    arms = {name: arm_named(name) for name in settings.every_arm}
    rows, missing = rows_by_arm(inputs, arms, seed)
    for name, reason in missing.items():
        console.print(f"[yellow]arm {name} is left out[/]: {reason}", soft_wrap=True)
    val = val_rows(inputs.real, cache=inputs.cache)
    real_rows = train_rows(inputs.real, cache=inputs.cache)
    # Every arm sees as many images as the real rows decide, whatever its own number of rows.
    training = settings.training.decided(len(real_rows))
    recipe = {
        "settings": settings.model_dump(mode="json"),
        "options": {name: dict(options.get(name, {})) for name in settings.architectures},
        "classes": list(classes.names),
        "inputs": {
            "real": inputs.real.sha256,
            "synthetic": inputs.synthetic.sha256,
            "kept": sha256_of_value(sorted(inputs.kept)),
            **({"held-back": inputs.held_back.sha256} if inputs.held_back is not None else {}),
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
                        arms[name],
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
    results["missing_arms"] = list(missing)
    results["missing_because"] = missing
    results["rows"] = {name: len(train) for name, train in rows.items()}
    write_json(folder / "results.json", results)
    return results


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
