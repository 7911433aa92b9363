"""From finished cells to tables, paired differences and verdicts; nothing is trained here."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from terraloom.arms import COMPARED, RECORDED, arm_named, controls_of, is_control, is_reference
from terraloom.settings import BenchmarkSettings
from terraloom.types import Int64Array
from terraloom.verdict import (
    METRICS,
    Bootstrap,
    class_statements,
    false_alarm_rate,
    rival_statements,
    sentence,
    spreads,
    word_of,
)

_JOINED: Final = "real+both"
"""The arm that the others ask questions of, and that speaks for the run."""


def judge(
    cells: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    settings: BenchmarkSettings,
    seed: int,
) -> dict[str, Any]:
    """Tables, paired differences and verdicts of finished cells.

    Args:
        cells: of `run_benchmark`, with a confusion matrix per test place; recorded controls under
            their own arm name. Cells of several folds say which by `fold`, those of several
            generator seeds by `chain`; left out, both are 0.
        class_names: in label order.
        settings: arms and draws.
        seed: of the bootstrap.
    """
    arms = [name for name in settings.every_arm if any(cell["arm"] == name for cell in cells)]
    arms += sorted({cell["arm"] for cell in cells if cell["arm"].startswith(RECORDED)})
    folds = sorted({cell.get("fold", 0) for cell in cells})
    scopes = [("all", tuple(settings.architectures))] if len(settings.architectures) > 1 else []
    scopes += [(name, (name,)) for name in settings.architectures]
    table, differences, per_class, verdicts, questions = [], [], [], [], []
    for scope, architectures in scopes:
        runs = [_Runs(cells, fold, architectures) for fold in folds]
        bootstrap = Bootstrap(
            [{arm: run.matrices(arm) for arm in arms} for run in runs],
            draws=settings.draws,
            seed=seed,
            chains=runs[0].chains(arms[0]),
        )
        chains = [(number, c) for number, run in enumerate(runs) for c in run.chains(arms[0])]
        for arm in arms:
            table.append(_table_row(bootstrap, arm, scope, class_names, chains))
        for arm in arms:
            if is_reference(arm):
                continue
            against = {c: bootstrap.difference(arm, c, "f1") for c in controls_of(arm, arms)}
            for control in against:
                differences += _differences(bootstrap, arm, control, scope)
            best = max(against, key=lambda c: bootstrap.estimate(c, "f1").mean)
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
        questions += _questions(bootstrap, arms, scope)
    first_control = next(arm for arm in arms if is_control(arm))
    rivals = _rivals(cells, folds, first_control, settings, seed)
    truth = [_Runs(cells, fold, scopes[0][1]).matrices(first_control) for fold in folds]
    chains_of_fold = {(c.get("fold", 0), c.get("chain", 0)) for c in cells}
    per_fold = [matrices[0].sum(axis=(0, 2)) for matrices in truth]
    return {
        "design": {
            "arms": arms,
            "architectures": list(settings.architectures),
            "segmenter_seeds": len({cell["seed"] for cell in cells}),
            "generator_seeds": len({chain for _, chain in chains_of_fold}),
            "folds": len(folds),
            "images_per_cell": settings.training.images,
            "test_places": sum(matrices.shape[1] for matrices in truth),
            "test_pixels": int(sum(counts.sum() for counts in per_fold)),
            "classes": list(class_names),
            "absent_classes": _absent(np.sum(per_fold, axis=0), class_names),
            "absent_per_fold": [_absent(counts, class_names) for counts in per_fold],
            "draws": settings.draws,
        },
        "table": table,
        "differences": differences,
        "per_class": per_class,
        "verdicts": verdicts,
        "questions": questions,
        "architectures": rivals,
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


class _Runs:
    """Cells of one fold and some architectures, in the order architecture, chain, seed."""

    def __init__(
        self, cells: Sequence[Mapping[str, Any]], fold: int, architectures: Sequence[str]
    ) -> None:
        self._cells = sorted(
            (
                cell
                for cell in cells
                if cell.get("fold", 0) == fold and cell["architecture"] in architectures
            ),
            key=lambda cell: (cell["architecture"], cell.get("chain", 0), cell["seed"]),
        )
        self._places = sorted(self._cells[0]["confusion"])

    def matrices(self, arm: str) -> Int64Array:
        """Confusion matrices of an arm, "run place truth predicted"."""
        return np.array(
            [
                [cell["confusion"][place] for place in self._places]
                for cell in self._cells
                if cell["arm"] == arm
            ],
            dtype=np.int64,
        )

    def chains(self, arm: str) -> list[int]:
        """Generator seed of each run."""
        return [cell.get("chain", 0) for cell in self._cells if cell["arm"] == arm]


def _differences(bootstrap: Bootstrap, arm: str, control: str, scope: str) -> list[dict[str, Any]]:
    """One row per metric."""
    rows = []
    for metric in METRICS:
        estimate, smallest = bootstrap.difference(arm, control, metric)
        rows.append(
            {
                "architecture": scope,
                "arm": arm,
                "control": control,
                "metric": metric,
                **estimate.to_json(),
                "minimum_detectable": round(smallest, 5),
            }
        )
    return rows


def _rivals(
    cells: Sequence[Mapping[str, Any]],
    folds: Sequence[int],
    arm: str,
    settings: BenchmarkSettings,
    seed: int,
) -> dict[str, Any] | None:
    """Architectures against each other on the rows of one arm; None where there is but one."""
    names = settings.architectures
    if len(names) < 2:
        return None
    runs = [{name: _Runs(cells, fold, (name,)) for name in names} for fold in folds]
    bootstrap = Bootstrap(
        [{name: own.matrices(arm) for name, own in fold.items()} for fold in runs],
        draws=settings.draws,
        seed=seed,
        chains=runs[0][names[0]].chains(arm),
    )
    return {"arm": arm, "metric": "f1", "pairs": rival_statements(bootstrap)}


def _questions(bootstrap: Bootstrap, arms: Sequence[str], scope: str) -> list[dict[str, Any]]:
    """The arm of real and curated rows against those that ask something of it."""
    if _JOINED not in arms:
        return []
    found = []
    for other in COMPARED:
        if other in arms:
            estimate, smallest = bootstrap.difference(_JOINED, other, "f1")
            found.append(
                {
                    "architecture": scope,
                    "question": arm_named(other).asks,
                    "arm": _JOINED,
                    "against": other,
                    "metric": "f1",
                    **estimate.to_json(),
                    "minimum_detectable": round(smallest, 5),
                }
            )
    return found


def _absent(counts: Int64Array, class_names: Sequence[str]) -> list[str]:
    return [name for label, name in enumerate(class_names) if counts[label] == 0]


def _table_row(
    bootstrap: Bootstrap,
    arm: str,
    scope: str,
    class_names: Sequence[str],
    chains: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    observed = bootstrap.observed(arm)
    row: dict[str, Any] = {
        "architecture": scope,
        "arm": arm,
        "runs": len(observed["f1"]),
        "f1_per_run": [round(float(v), 5) for v in observed["f1"]],
        "f1_spread": _spreads(observed["f1"].tolist(), chains),
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


def _spreads(values: Sequence[float], chains: Sequence[tuple[int, int]]) -> dict[str, float | None]:
    """Spread between generator seeds and within them: root mean square over folds."""
    found = []
    for fold in sorted({number for number, _ in chains}):
        own = [(v, c) for v, (number, c) in zip(values, chains, strict=True) if number == fold]
        found.append(spreads([v for v, _ in own], [c for _, c in own]))
    result: dict[str, float | None] = {}
    for name in ("between", "within"):
        known = [value for spread in found if (value := spread[name]) is not None]
        result[name] = round(float(np.sqrt(np.mean(np.square(known)))), 5) if known else None
    return result


def _overall(verdicts: Sequence[Mapping[str, Any]], scope: str) -> str:
    """One sentence for the run: the verdict of the arm that joins real and synthetic rows."""
    own = [v for v in verdicts if v["architecture"] == scope]
    mixed = [v for v in own if v["arm"].startswith("real+") and "@" not in v["arm"]] or own
    if not mixed:
        return "No arm with synthetic rows was run, so there is no verdict."
    chosen = next((v for v in mixed if v["arm"] == "real+both"), mixed[-1])
    return str(chosen["sentence"])
