"""Class shares, real beside synthetic: means, distributions, distances."""

from collections.abc import Mapping
from typing import Any

from terraloom.classes import ClassTable
from terraloom.report import figures
from terraloom.report.findings import strangers
from terraloom.report.reading import ProjectFiles
from terraloom.report.tables import SUMMARY, name, number
from terraloom.report.views import Block, FigureView, Section, TableView, TextView, missing
from terraloom.report.wording import ABSENT, count, distance, interval, listed, percent, points


def composition_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Class shares, real beside each synthetic origin."""
    title = "Composition"
    summary = files.scores.get("composition")
    if summary is None:
        return Section("composition", title, (missing("score", "composition"),))
    blocks: list[Block] = [
        FigureView(
            "composition", "Mean class shares by origin",
            "Bars per class and origin; synthetic origins are hatched.",
            figures.composition(summary["origins"], classes),
            (f"{SUMMARY}, composition",),
            (
                "Class colours; synthetic origins hatched. Real: train rows. Synthetic: every "
                "sample that was made, by its final mask.",
            ),
        ),
        composition_table(summary),
    ]  # fmt: skip
    blocks += [
        class_composition_table(origin, summary)
        for origin in summary["origins"]
        if origin != "real" and "per_class" in summary["origins"][origin]
    ]
    strange = strangers(summary)
    if strange:
        blocks.append(
            TextView(
                f"Above the ceiling: {listed(strange)}. Their classes are mixed less like the real "
                "rows than classes with exchanged names would be.",
                "warning",
            )
        )
    return Section("composition", title, tuple(blocks))


def composition_table(summary: Mapping[str, Any]) -> TableView:
    """Distances of class shares to the real ones, between floor and ceiling."""
    rows = []
    for origin, entry in summary["origins"].items():
        if origin == "real":
            continue
        equal, bounds = entry.get("equal"), entry.get("interval")
        told = f"[{distance(bounds[0])}, {distance(bounds[1])}]" if bounds else ""
        rows.append(
            (
                name(origin),
                number(count(entry["samples"])),
                number(distance(entry["distance"]), told),
                number(count(equal["samples"]) if equal else ABSENT),
                number(distance(equal["distance"]) if equal else ABSENT),
                number(distance(equal["floor"]) if equal else ABSENT),
            )
        )
    real = summary["origins"]["real"]["samples"]
    none = (number(ABSENT),) * 3
    floor = number(distance(summary["floor"]))
    rows.insert(0, (name("floor: real val"), number(count(summary["floor_samples"])), floor, *none))
    ceiling = number(distance(summary["ceiling"]))
    rows.append((name("ceiling: real shares, classes rotated"), number(ABSENT), ceiling, *none))
    return TableView(
        "Distance of mean class shares to the real train rows",
        (
            "samples of",
            "samples",
            "Jensen-Shannon distance, base 2",
            "drawn to",
            "distance there",
            "floor there",
        ),
        tuple(rows),
        (f"{SUMMARY}, composition",),
        (
            f"Against {count(real)} real train samples; 0 is equal, 1 is disjoint; 95 % intervals "
            "over places and parents. Distances grow as samples get fewer: the last columns draw "
            "train, origin and val to one number of samples. Below the floor the difference is no "
            "larger than between two parts of the real data.",
        ),
    )


def class_composition_table(origin: str, summary: Mapping[str, Any]) -> TableView:
    """Shares of each class over images: means, differences, distances of the distributions."""
    real = summary["origins"]["real"]["per_class"]
    own, floor = summary["origins"][origin]["per_class"], summary["floor_per_class"]
    rows = []
    for first, second, held in zip(real, own, floor, strict=True):
        moved = second["wasserstein_interval"]
        rows.append(
            (
                name(second["class"]),
                number(percent(first["mean"]), _quartiles(first)),
                number(percent(second["mean"]), _quartiles(second)),
                number(points(second["difference"]), interval(
                    *second["difference_interval"], signed=True)),
                number(percent(second["wasserstein"]), interval(*moved)),
                number(percent(held["wasserstein"])),
                number(percent(first["present"]), f"{percent(second['present'])} here"),
            )
        )  # fmt: skip
    return TableView(
        f"Class shares over images, in percent: {origin}",
        ("class", "real train", origin, "difference", "Wasserstein", "real val", "images with it"),
        tuple(rows),
        (f"{SUMMARY}, composition",),
        (
            "Below the means the quartiles over images. Wasserstein: how far shares must be moved, "
            "in points, to turn one distribution into the other; beside it the same of real val, "
            "the floor. 95 % intervals over places and parents, each class for itself.",
        ),
        folded=True,
    )


def _quartiles(entry: Mapping[str, Any]) -> str:
    return " · ".join(percent(value) for value in entry["quartiles"])
