"""The captioning benchmarks of many chains as one: folds make up a run, chain seeds are runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terraloom.arms import RECORDED, is_control
from terraloom.caption_judging import judge_captions
from terraloom.files import read_json
from terraloom.joining import ChainRuns, join_runs
from terraloom.types import Float64Array


@dataclass(frozen=True)
class CaptionChain:
    """What the captioning benchmark of one chain left behind."""

    runs: ChainRuns
    """Its cells, floors and ceiling among them, with `fold` and `chain`."""
    design: Mapping[str, Any]


def read_caption_chain(folder: Path, name: str, fold: int, chain: int) -> CaptionChain:
    """Read a chain's captioning benchmark; controls recorded by earlier recipes are left out.

    Args:
        folder: of the stage.
        name: of the chain.
        fold: that was test.
        chain: seed of the whole chain, from 0.
    """
    results = read_json(folder / "results.json")
    cells = [
        read_json(folder / "cells" / f"{cell['arm']}-{cell['seed']}" / "result.json")
        for cell in results["cells"]
        if not cell["arm"].startswith(RECORDED)
    ]
    cells += read_json(folder / "floors" / "result.json")
    placed = [{**cell, "fold": fold, "chain": chain} for cell in cells]
    design = results["design"]
    return CaptionChain(
        ChainRuns(name, placed, design["train_rows"], results["missing_because"]), design
    )


def join_captions(chains: Sequence[CaptionChain], *, draws: int, seed: int) -> dict[str, Any]:
    """Judge the captioners of all chains together.

    A run is one seed of the whole chain: its folds test every place once, and the captioner seeds
    nested in it are summed, so that the intervals hold the spread over places and chain seeds.
    Document frequencies of CIDEr-D are each fold's own.

    Args:
        chains: every fold of every chain seed.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        As `judge_captions`, with `design`, `cells`, `missing_arms`, `missing_because` and
        `real_alone` (see `joining`).
    """
    joined = join_runs([chain.runs for chain in chains])
    # A ceiling needs several references per image: where one fold lacks them it cannot be pooled.
    found = Counter(name for chain in chains for name in {c["arm"] for c in chain.runs.cells})
    joined.cells[:] = [
        cell
        for cell in joined.cells
        if cell["arm"] in joined.rows or found[cell["arm"]] == len(chains)
    ]
    results = judge_captions(_pooled(joined.cells, joined.rows), draws=draws, seed=seed)
    return results | {
        "missing_arms": list(joined.missing),
        "missing_because": joined.missing,
        "real_alone": joined.real_alone,
        "design": _design([chain.design for chain in chains], joined.cells, joined.rows, draws),
        "cells": [
            {key: value for key, value in cell.items() if key != "places"}
            for cell in joined.cells
            if cell["kind"] in ("control", "arm")
        ],
    }


def _pooled(cells: Sequence[Mapping[str, Any]], rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """One cell per arm and chain seed, with the sums of all its folds and captioner seeds."""
    grouped: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    order = {arm: number for number, arm in enumerate(rows)}
    for cell in sorted(cells, key=lambda cell: order.get(cell["arm"], len(order))):
        grouped.setdefault((cell["arm"], cell["chain"]), []).append(cell)
    pooled = []
    for (arm, chain), own in grouped.items():
        kind = own[0]["kind"]
        if kind in ("control", "arm"):
            kind = "control" if is_control(arm) else "arm"
        sums: dict[str, Float64Array] = {}
        for cell in own:
            for place, values in cell["places"].items():
                sums[place] = sums.get(place, 0.0) + np.array(values, dtype=np.float64)
        pooled.append(
            {
                "arm": arm,
                "kind": kind,
                "seed": chain,
                "rows": rows.get(arm, own[0]["rows"]),
                "captions": sum(cell["captions"] for cell in own),
                "redundancy": float(np.mean([cell["redundancy"] for cell in own])),
                "normalised": float(np.mean([cell["normalised"] for cell in own])),
                "places": {place: values.tolist() for place, values in sums.items()},
            }
        )
    return pooled


def _design(
    designs: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    rows: Mapping[str, int],
    draws: int,
) -> dict[str, Any]:
    """What the reader must know to weigh the figures, over all chains."""
    chains, folds = {cell["chain"] for cell in cells}, {cell["fold"] for cell in cells}
    first = designs[0]
    arms = [arm for arm in first["arms"] if arm in rows]
    arms += [arm for arm in rows if arm not in arms]

    def per_arm(key: str) -> dict[str, float]:
        found = {arm: [d[key][arm] for d in designs if arm in d[key]] for arm in arms}
        return {arm: round(float(np.mean(values))) for arm, values in found.items() if values}

    def union(key: str, arm: str) -> list[str]:
        return sorted({value for d in designs for value in d[key].get(arm, ())}, reverse=True)

    writers: dict[str, dict[str, list[str]]] = {}
    for design in designs:
        for kind, own in design["writers"].items():
            for writer, saw in own.items():
                known = writers.setdefault(kind, {}).setdefault(writer, [])
                known += [name for name in saw if name not in known]
    return {
        **{key: first[key] for key in ("images_per_cell", "image_size", "model", "beams")},
        "arms": arms,
        "folds": len(folds),
        "seeds": len(chains),
        "generator_seeds": len(chains),
        "captioner_seeds": first["seeds"],
        "draws": draws,
        "train_rows": {arm: rows[arm] for arm in arms},
        "train_captions": per_arm("train_captions"),
        "rows_without_caption": per_arm("rows_without_caption"),
        "train_sizes": {arm: union("train_sizes", arm) for arm in arms},
        "val_rows": round(float(np.mean([d["val_rows"] for d in designs]))),
        "test_images": round(sum(d["test_images"] for d in designs) / len(chains)),
        "test_images_without_reference": round(
            sum(d["test_images_without_reference"] for d in designs) / len(chains)
        ),
        "test_places": len({place for cell in cells for place in cell["places"]}),
        "references_per_image": [
            min(d["references_per_image"][0] for d in designs),
            max(d["references_per_image"][1] for d in designs),
        ],
        "writers": writers,
        "compass": {
            kind: any(d["compass"][kind] for d in designs) for kind in ("real", "synthetic")
        },
    }
