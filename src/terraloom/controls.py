"""Every real-only arm ever recorded for a project's data: a verdict must beat the strongest.

A benchmark writes its controls into the project folder, outside the stages, so that they outlive
every rerun. A later recipe on the same data, architecture and budget is compared with the strongest
of them as well, so that nobody can weaken a control between two runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from terraloom.arms import RECORDED, is_control
from terraloom.files import read_json, write_json
from terraloom.learning.confusion import figures_of

FOLDER_NAME: Final = "controls"


def record_controls(
    folder: Path, cells: Sequence[Mapping[str, Any]], setting: Mapping[str, Any], recipe: str
) -> None:
    """Write the real-only cells of a finished benchmark.

    Args:
        folder: of the project's controls.
        cells: with confusion matrices per test place.
        setting: what must be equal for a comparison: data checksum and budget.
        recipe: hash of the locked recipe.
    """
    own = [cell for cell in cells if is_control(cell["arm"])]
    write_json(
        folder / f"{recipe[:16]}.json",
        {"recipe_sha256": recipe, "setting": dict(setting), "cells": [dict(cell) for cell in own]},
    )


def strongest_recorded(
    folder: Path, cells: Sequence[Mapping[str, Any]], setting: Mapping[str, Any], recipe: str
) -> list[dict[str, Any]]:
    """Cells of the strongest control of earlier recipes, if it beats all controls of this run.

    Compared are mean macro F1 over runs, among recipes of equal setting, architectures and number
    of seeds. The cells come back under the arm name "recorded:<arm>".

    Returns:
        Empty where there is none, or none is stronger.
    """
    names = {cell["arm"] for cell in cells if is_control(cell["arm"])}
    bar = max(_strength([c for c in cells if c["arm"] == name]) for name in names)
    shape = sorted({(cell["architecture"], cell["seed"]) for cell in cells})
    best: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        stored = read_json(path)
        if stored["recipe_sha256"] == recipe or stored["setting"] != dict(setting):
            continue
        for name in sorted({cell["arm"] for cell in stored["cells"]}):
            own = [cell for cell in stored["cells"] if cell["arm"] == name]
            if sorted({(cell["architecture"], cell["seed"]) for cell in own}) != shape:
                continue
            if _strength(own) > bar:
                bar = _strength(own)
                best = [{**cell, "arm": f"{RECORDED}{name}"} for cell in own]
    return best


def _strength(cells: Sequence[Mapping[str, Any]]) -> float:
    """Mean over runs of the macro F1 over all test pixels."""
    sums = [np.sum([np.array(m) for m in cell["confusion"].values()], axis=0) for cell in cells]
    return float(np.mean([figures_of(matrix).macro("f1") for matrix in sums]))
