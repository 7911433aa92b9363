"""Face of the captioning benchmark: a captioner per arm and seed, equal budgets, one look at test.

A cell is one training of one arm; cells are the unit of resume, and within one the loop's
checkpoints and the shards of its captions. Captions are targets only, so what their writer saw is
no leak; what a captioner wrote of test images is checked claim by claim before anything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lightning_fabric import Fabric

from terraloom.arm_rows import ArmRows, Inputs
from terraloom.arms import ARMS, RECORDED, is_control
from terraloom.caption_floors import (
    CEILING,
    CONSTANT,
    RANDOM,
    constant_caption,
    one_against_the_others,
    random_captions,
)
from terraloom.caption_judging import JUDGED, judge_captions
from terraloom.caption_metrics import evaluate_captions
from terraloom.caption_statistics import checked_claims, figures_of_sums, place_statistics
from terraloom.captioners._face import Caption
from terraloom.captioning import caption_rows
from terraloom.claiming import claim_captions
from terraloom.classes import ClassTable
from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import val_rows
from terraloom.errors import NothingLeft
from terraloom.files import read_json, sha256_of_value, write_json
from terraloom.image_to_text.captioned import (
    CaptionedTrain,
    CaptionedVal,
    captioned_train,
    captioned_val,
    read_captions,
)
from terraloom.image_to_text.training import train_captioner
from terraloom.ledger import record_look
from terraloom.progress import console
from terraloom.redundancy import exact_redundancy, normalised_redundancy
from terraloom.samples import decode_view
from terraloom.seeds import derive_seed
from terraloom.settings.caption_benchmark import CaptionBenchmarkSettings
from terraloom.tables import MANIFEST, Shard, Table, shards_of, write_table
from terraloom.types import ImageU8

CONTROLS: Final = "caption-controls"
"""Folder of the project's recorded controls; it outlives the stage's folder."""
_BATCH: Final = 32

Write = Callable[[Sequence[str], Sequence[ImageU8]], Sequence[str]]
"""Captions of some test images, by ids and pixels."""


@dataclass(frozen=True)
class CaptionInputs:
    """What the arms are made of."""

    real: Table
    synthetic: Table
    kept: frozenset[str]
    """Ids of curated synthetic samples."""
    captions: Mapping[str, Table]
    """Captions tables of "real" and "synthetic" samples."""
    cache: RowCache | None = None
    """How training rows are held; None keeps them in memory."""


@dataclass(frozen=True)
class _Test:
    """The test rows as captions are scored on them."""

    real: Table
    references: Mapping[str, tuple[str, ...]]
    places: Mapping[str, str]
    classes: ClassTable
    without: int
    """Test images that are left out for want of a reference."""


def run_caption_benchmark(
    inputs: CaptionInputs,
    folder: Path,
    *,
    classes: ClassTable,
    settings: CaptionBenchmarkSettings,
    ledger: Path,
    controls: Path,
    seed: int,
    fabric: Fabric,
) -> dict[str, Any]:
    """Train every cell that is missing, let each caption test once, and judge.

    Args:
        inputs: samples, captions, and which synthetic samples were kept.
        folder: receives cells/, floors/, recipe.json and results.json.
        classes: class table.
        settings: arms, seeds, network, budget.
        ledger: file that every look at test is appended to; outlives the stage's folder.
        controls: folder of recorded real-only cells; outlives it too.
        seed: all cell seeds are derived from it.
        fabric: device.

    Returns:
        The content of results.json.

    Raises:
        NothingLeft: no control, val row or test row has a caption.
    """
    trains, missing = _captioned_by_arm(inputs, settings.arms, seed)
    for name, reason in missing.items():
        console.print(f"[yellow]arm {name} is left out[/]: {reason}", soft_wrap=True)
    val = _val(inputs)
    test = _test(inputs, classes)
    recipe = {
        "settings": settings.model_dump(mode="json"),
        "classes": list(classes.names),
        "inputs": {
            "real": inputs.real.sha256,
            "synthetic": inputs.synthetic.sha256,
            "kept": sha256_of_value(sorted(inputs.kept)),
            **{f"captions/{kind}": table.sha256 for kind, table in inputs.captions.items()},
        },
        "seed": seed,
    }
    recipe_sha256 = sha256_of_value(recipe)
    write_json(folder / "recipe.json", {"sha256": recipe_sha256, **recipe})
    cells: list[dict[str, Any]] = []
    total = len(trains) * settings.seeds
    for index in range(settings.seeds):
        for name, train in trains.items():
            cells.append(
                _run_cell(
                    name,
                    train,
                    val,
                    test,
                    settings,
                    folder / "cells" / f"{name}-{index}",
                    ledger=ledger,
                    recipe_sha256=recipe_sha256,
                    # Equal for all arms of a seed: the same start, order and crops' streams.
                    seed=derive_seed(seed, "caption cell", index),
                    index=index,
                    fabric=fabric,
                    description=f"cell {len(cells) + 1}/{total} {name} captioner seed {index}",
                )
            )
    first = next(train for name, train in trains.items() if is_control(name))
    floors = _floors(first, test, settings, folder / "floors", ledger, recipe_sha256, seed)
    setting = {
        "real": inputs.real.sha256,
        "captions": inputs.captions["real"].sha256,
        "images": settings.training.images,
        "seeds": settings.seeds,
    }
    recorded = _stronger_recorded(controls, cells, setting, recipe_sha256)
    for name in sorted({cell["arm"] for cell in recorded}):
        console.print(f"a stronger control of an earlier recipe counts: {name}")
    _record_controls(controls, cells, setting, recipe_sha256)
    results = judge_captions([*cells, *recorded, *floors], draws=settings.draws, seed=seed)
    results |= {
        "recipe_sha256": recipe_sha256,
        "missing_arms": list(missing),
        "missing_because": missing,
        "design": _design(inputs, trains, val, test, settings),
        "cells": [{k: v for k, v in cell.items() if k != "places"} for cell in cells],
    }
    write_json(folder / "results.json", results)
    return results


def _captioned_by_arm(
    inputs: CaptionInputs, arms: Sequence[str], seed: int
) -> tuple[dict[str, CaptionedTrain], dict[str, str]]:
    """Captioned training rows per arm, and why arms without any are left out."""
    ids = inputs.synthetic.read(["id"])["id"].to_pylist()
    light = inputs.real.read(["id", "split"]).to_pylist()
    real_ids = [row["id"] for row in light if row["split"] == "train"]
    captions: dict[str, tuple[str, ...]] = {
        **read_captions(inputs.captions["real"], real_ids),
        **read_captions(inputs.captions["synthetic"], ids),
    }
    kept = frozenset(inputs.kept & captions.keys())
    rows = ArmRows(Inputs(inputs.real, inputs.synthetic, kept, inputs.cache), seed)
    found: dict[str, CaptionedTrain] = {}
    missing: dict[str, str] = {}
    for name in arms:
        chosen = rows.of(ARMS[name])
        if isinstance(chosen, str):
            missing[name] = chosen
        elif any(row.id in captions for row in chosen.rows):
            found[name] = captioned_train(chosen, captions)
        else:
            missing[name] = "none of its rows has a caption"
    if not any(is_control(name) for name in found):
        raise NothingLeft(
            "the captioning benchmark has no control left: no real train row has a caption. "
            "Caption the samples first: terraloom caption"
        )
    return found, missing


def _val(inputs: CaptionInputs) -> CaptionedVal:
    val = val_rows(inputs.real, cache=inputs.cache)
    return captioned_val(val, read_captions(inputs.captions["real"], [row.id for row in val.rows]))


def _test(inputs: CaptionInputs, classes: ClassTable) -> _Test:
    """Names and references of the test rows; no pixel of them is looked at here."""
    light = inputs.real.read(["id", "split", "place"])
    light = light.filter(pc.equal(light.column("split"), "test"))
    places = {row["id"]: str(row["place"] or row["id"]) for row in light.to_pylist()}
    references = read_captions(inputs.captions["real"], list(places))
    if not references:
        raise NothingLeft(
            "no test row has a caption that counts as right. Caption the samples first: "
            "terraloom caption"
        )
    return _Test(
        inputs.real,
        references,
        {key: place for key, place in places.items() if key in references},
        classes,
        len(places) - len(references),
    )


def _run_cell(
    name: str,
    train: CaptionedTrain,
    val: CaptionedVal,
    test: _Test,
    settings: CaptionBenchmarkSettings,
    folder: Path,
    *,
    ledger: Path,
    recipe_sha256: str,
    seed: int,
    index: int,
    fabric: Fabric,
    description: str,
) -> dict[str, Any]:
    path = folder / "result.json"
    if path.exists():
        result: dict[str, Any] = read_json(path)
        return result
    if ARMS[name].strong:
        training = settings.training.model_copy(update={"augment": "strong"})
        settings = settings.model_copy(update={"training": training})
    trained = train_captioner(
        train, val, settings, folder, seed=seed, fabric=fabric, description=description
    )
    if not (folder / "captions" / MANIFEST).exists():
        # The ledger is written before the look: a look that was cut off still counts.
        record_look(ledger, recipe_sha256, f"captions-{folder.name}")

    def write(ids: Sequence[str], images: Sequence[ImageU8]) -> Sequence[str]:
        return trained.captions(images, settings.beams)

    result = {
        "arm": name,
        "kind": "control" if is_control(name) else "arm",
        "seed": index,
        "rows": len(train),
        "rows_without_caption": train.without,
        "images": trained.summary["images"],
        "best_images": trained.summary["best_images"],
        "val_loss": trained.summary["best_val_loss"],
        **_said_on_test(
            test,
            folder,
            write,
            writer="captioner",
            model=settings.model,
            decoding="greedy" if settings.beams == 1 else f"{settings.beams} beams",
            description=f"{name} seed {index} writes of test images",
        ),
    }
    write_json(path, result)
    return result


def _said_on_test(
    test: _Test,
    folder: Path,
    write: Write,
    *,
    writer: str,
    model: str | None,
    decoding: str | None,
    description: str,
    references: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Write captions of the test images and their claims to disk; sums per place and redundancy."""

    def shard(part: Shard) -> pa.Table:
        captions: list[list[Caption]] = []
        file = pq.ParquetFile(test.real.folder / part.filename)
        for batch in file.iter_batches(batch_size=_BATCH, columns=["id", "split", "image"]):
            rows = [row for row in batch.to_pylist() if row["id"] in test.references]
            ids = [str(row["id"]) for row in rows]
            texts = write(ids, [decode_view(row["image"]) for row in rows]) if rows else ()
            for key, text in zip(ids, texts, strict=True):
                captions.append(
                    [
                        Caption(
                            sample_id=key,
                            index=0,
                            text=text,
                            writer=writer,
                            mode="vision",
                            saw=("image",) if model is not None else (),
                            model=model,
                            prompt_sha256=None,
                            seed=None,
                            decoding=decoding,
                        )
                    ]
                )
        return caption_rows(captions)

    table = write_table(
        folder / "captions",
        shards_of(test.real),
        shard,
        settings_sha256=sha256_of_value({"writer": writer, "model": model, "decoding": decoding}),
        inputs={"samples": test.real.sha256},
        description=description,
        unit="samples",
    )
    claims = claim_captions(
        test.real, table, test.classes, folder / "claims", description="checking its claims"
    )
    said = {row["id"]: row["text"] for row in table.read(["id", "text"]).to_pylist()}
    scores = evaluate_captions(
        said,
        {key: list(texts) for key, texts in (references or test.references).items()},
        synonyms=test.classes,
    )
    checked = checked_claims(test.real, claims, scores.ids, test.classes.names)
    return {
        "captions": len(said),
        "places": place_statistics(scores, checked, test.places),
        "redundancy": round(exact_redundancy(said.values()).redundancy, 6),
        "normalised": round(normalised_redundancy(said.values()).redundancy, 6),
    }


def _floors(
    train: CaptionedTrain,
    test: _Test,
    settings: CaptionBenchmarkSettings,
    folder: Path,
    ledger: Path,
    recipe_sha256: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Floors and ceiling as cells of their own, one of each per seed of the arms."""
    path = folder / "result.json"
    if path.exists():
        stored: list[dict[str, Any]] = read_json(path)
        return stored
    record_look(ledger, recipe_sha256, "caption-floors")
    cells: list[dict[str, Any]] = []

    def add(name: str, kind: str, seeds: Sequence[int], found: Mapping[str, Any]) -> None:
        common = {"arm": name, "kind": kind, "rows": len(train) if kind == "floor" else None}
        cells.extend({**common, "seed": index, **found} for index in seeds)

    everywhere = list(range(settings.seeds))
    for index in everywhere:
        own = derive_seed(seed, RANDOM, index)
        found = _said_on_test(
            test,
            folder / f"random-{index}",
            lambda ids, images, own=own: random_captions(train, ids, own),  # type: ignore[misc]
            writer=RANDOM,
            model=None,
            decoding=None,
            description="random train captions",
        )
        add(RANDOM, "floor", [index], found)
    constant = constant_caption(train, derive_seed(seed, CONSTANT))
    found = _said_on_test(
        test,
        folder / "constant",
        lambda ids, images: [constant] * len(ids),
        writer=CONSTANT,
        model=None,
        decoding=None,
        description="one caption for all",
    )
    add(CONSTANT, "floor", everywhere, {**found, "text": constant})
    dealt = one_against_the_others(test.references)
    if dealt is not None:
        said, others = dealt
        found = _said_on_test(
            test,
            folder / "reference",
            lambda ids, images: [said[key] for key in ids],
            writer=CEILING,
            model=None,
            decoding=None,
            description="one reference against the others",
            references=others,
        )
        add(CEILING, "ceiling", everywhere, found)
    write_json(path, cells)
    return cells


def _design(
    inputs: CaptionInputs,
    trains: Mapping[str, CaptionedTrain],
    val: CaptionedVal,
    test: _Test,
    settings: CaptionBenchmarkSettings,
) -> dict[str, Any]:
    """What the reader must know to weigh the figures."""
    sizes = {name: _sizes(train) for name, train in trains.items()}
    writers: dict[str, dict[str, list[str]]] = {}
    for kind, table in inputs.captions.items():
        found: dict[str, set[str]] = {}
        for row in table.read(["writer", "saw"]).to_pylist():
            found.setdefault(row["writer"], set()).update(row["saw"] or [])
        writers[kind] = {writer: sorted(saw) for writer, saw in sorted(found.items())}
    counts = [len(texts) for texts in test.references.values()]
    return {
        "arms": list(trains),
        "seeds": settings.seeds,
        "generator_seeds": 1,
        "images_per_cell": settings.training.images,
        "image_size": settings.training.image_size,
        "model": settings.model,
        "beams": settings.beams,
        "draws": settings.draws,
        "train_rows": {name: len(train) for name, train in trains.items()},
        "train_captions": {name: sum(map(len, train.texts)) for name, train in trains.items()},
        "rows_without_caption": {name: train.without for name, train in trains.items()},
        "train_sizes": sizes,
        "val_rows": len(val),
        "test_images": len(test.references),
        "test_images_without_reference": test.without,
        "test_places": len(set(test.places.values())),
        "references_per_image": [min(counts), max(counts)],
        "writers": writers,
        "compass": {
            "real": _compass(inputs.real),
            "synthetic": _compass(inputs.synthetic),
        },
    }


def _sizes(train: CaptionedTrain) -> list[str]:
    """Different sizes of the images of the first and last few rows, which differ by source."""
    ends = {*range(min(4, len(train))), *range(max(len(train) - 4, 0), len(train))}
    shapes = {train.row(index).image.shape[:2] for index in ends}
    return [f"{height} × {width}" for height, width in sorted(shapes, reverse=True)]


def _compass(samples: Table) -> bool:
    """Whether captions of these samples tell places by compass: some image has coordinates."""
    for batch in samples.batches(["crs"]):
        if batch.column("crs").null_count < batch.num_rows:
            return True
    return False


def _record_controls(
    folder: Path, cells: Sequence[Mapping[str, Any]], setting: Mapping[str, Any], recipe: str
) -> None:
    """Keep the real-only cells: later verdicts must beat the strongest of them."""
    own = [dict(cell) for cell in cells if cell["kind"] == "control"]
    write_json(
        folder / f"{recipe[:16]}.json",
        {"recipe_sha256": recipe, "setting": dict(setting), "cells": own},
    )


def _stronger_recorded(
    folder: Path, cells: Sequence[Mapping[str, Any]], setting: Mapping[str, Any], recipe: str
) -> list[dict[str, Any]]:
    """Cells of earlier real-only arms that beat all controls of this run in a judged figure.

    Only those of the same data, captions, budget and number of seeds count; per figure the
    strongest. They come back under the name "recorded:<arm>".
    """
    names = {cell["arm"] for cell in cells if cell["kind"] == "control"}
    places = sorted(cells[0]["places"])
    earlier: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        stored = read_json(path)
        if stored["recipe_sha256"] == recipe or stored["setting"] != dict(setting):
            continue
        for name in sorted({cell["arm"] for cell in stored["cells"]}):
            own = [cell for cell in stored["cells"] if cell["arm"] == name]
            if sorted(own[0]["places"]) == places:
                earlier[stored["recipe_sha256"], name] = own
    chosen: dict[tuple[str, str], str] = {}
    for figure in JUDGED:
        bar = max(_strength([c for c in cells if c["arm"] == name], figure) for name in names)
        best = max(earlier, key=lambda key: _strength(earlier[key], figure), default=None)
        if best is not None and _strength(earlier[best], figure) > bar:
            chosen.setdefault(best, figure)
    found = []
    for number, (key, figure) in enumerate(chosen.items()):
        # Two of one name come from two recipes, each the strongest in one figure.
        label = f"{RECORDED}{key[1]}" if number == 0 else f"{RECORDED}{key[1]} ({figure})"
        found += [{**cell, "arm": label} for cell in earlier[key]]
    return found


def _strength(cells: Sequence[Mapping[str, Any]], figure: str) -> float:
    """Mean over runs; nothing decided counts as nothing."""
    values = []
    for cell in cells:
        sums = np.sum(np.array(list(cell["places"].values())), axis=0)
        value = float(figures_of_sums(sums)[figure])
        values.append(0.0 if np.isnan(value) else value)
    return float(np.mean(values))
