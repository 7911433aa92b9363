"""The paper's tables beside this run: means, architectures, and the classes that it tells of."""

from collections.abc import Mapping
from typing import Any

from terraloom.report import published
from terraloom.report.tables import RESULTS, name, number
from terraloom.report.views import Cell, TableView
from terraloom.report.wording import ABSENT, interval, percent, points


def published_table(results: Mapping[str, Any] | None, scope: str) -> TableView:
    """The paper's mean of six architectures beside this run."""
    own: dict[str, Any] = {}
    if results is not None:
        own = {row["arm"]: row for row in results["table"] if row["architecture"] == scope}
    rows = []
    for arm in published.ARMS:
        theirs = (arm.f1, arm.iou, arm.precision, arm.recall)
        ours = [
            number(
                percent(own[arm.arm][metric]["mean"]),
                interval(own[arm.arm][metric]["low"], own[arm.arm][metric]["high"]),
            )
            if arm.arm in own
            else number(ABSENT)
            for metric in ("f1", "iou", "precision", "recall")
        ]
        rows.append(
            (
                name(arm.arm, arm.rows),
                *(number(ABSENT if v is None else f"{v:.2f}") for v in theirs),
                *ours,
            )
        )
    return TableView(
        "Published means beside this run, in percent",
        (
            "arm", "paper F1", "paper IoU", "paper precision", "paper recall",
            "this run F1", "this run IoU", "this run precision", "this run recall",
        ),
        tuple(rows),
        (published.PAPER, RESULTS),
        (
            "Paper: mean of six architectures, one run each, no interval; ARAS400k, 256-pixel "
            "patches of Türkiye, EfficientNet-B7, arms not matched in updates. "
            "This run: mean over runs, in brackets its 95 % interval. "
            f"A figure that one side lacks is {ABSENT}.",
        ),
    )  # fmt: skip


def models_table(results: Mapping[str, Any] | None) -> TableView:
    """Macro F1 of each published architecture beside the same one of this run."""
    own: dict[tuple[str, str], Any] = {}
    if results is not None:
        own = {(row["architecture"], row["arm"]): row for row in results["table"]}
    rows = []
    for model in published.MODELS:
        theirs = [
            number(f"{f1:.2f}", f"IoU {iou:.2f}")
            for f1, iou in zip(model.f1, model.iou, strict=True)
        ]
        ours = []
        for arm in published.MODEL_ARMS:
            row = own.get((model.architecture, arm))
            ours.append(
                number(ABSENT)
                if row is None
                else number(
                    percent(row["f1"]["mean"]), interval(row["f1"]["low"], row["f1"]["high"])
                )
            )
        rows.append((name(model.architecture), *theirs, *ours))
    return TableView(
        "Published architectures beside this run, macro F1 in percent",
        (
            "architecture", "paper, real", "paper, synthetic", "paper, real + synthetic",
            *(f"this run, {arm}" for arm in published.MODEL_ARMS),
        ),
        tuple(rows),
        (published.PAPER, RESULTS),
        (
            "Paper: one run each, EfficientNet-B7, real + synthetic is real + unconditional. This "
            "run: any encoder, in brackets the 95 % interval.",
        ),
        folded=True,
    )  # fmt: skip


def classes_table(results: Mapping[str, Any], scope: str) -> TableView | None:
    """Gains of the classes that the paper tells of; None where this run has none of them."""
    rows: list[tuple[Cell, ...]] = []
    for land, (before, after) in published.CLASS_F1.items():
        for row in results["per_class"]:
            if row["class"] != land or row["architecture"] != scope:
                continue
            if not row["arm"].startswith("real+") or "@" in row["arm"]:
                continue
            rows.append(
                (
                    name(land),
                    number(f"{after - before:+.2f}", f"{before:.2f} to {after:.2f}"),
                    Cell(f"{row['arm']} − {row['control']}"),
                    number(points(row["mean"]), interval(row["low"], row["high"], signed=True)),
                    Cell(row["verdict"]),
                )
            )
    if not rows:
        return None
    return TableView(
        "Gains of weak classes beside the published ones, F1 in percentage points",
        ("class", "paper", "this run", "difference", "verdict"),
        tuple(rows),
        (published.PAPER, RESULTS),
        (
            "Paper: real to real + unconditional, no interval. Here: against the best control, "
            "the verdict after Holm's correction over all classes of the arm.",
        ),
    )
