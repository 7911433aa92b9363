"""A finished loop as tables: its rounds, and the one look at test."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.demand.options import Costs, DemandOptions
from terraloom.report import tables
from terraloom.report.views import Cell, TableView
from terraloom.report.wording import ABSENT, count, interval, percent, points

_STOPPED: Final = {
    "rounds": "all rounds were run",
    "images": "the budget of images is spent",
    "no gain": "the last round's gain is not above 0 with its whole interval",
    "nothing accepted": "curation accepted no sample of the last round",
    "no weak class": "no class is weaker than the others",
}


def rounds_table(found: Mapping[str, Any]) -> TableView:
    """One row per round and weak class, the real rows alone first."""
    rows: list[tuple[Cell, ...]] = []
    for record in found["rounds"]:
        cv, weak = record["cv"]["f1"], record.get("weak", [])
        gain = record.get("gain")
        sums = (
            tables.number(percent(cv["mean"]), interval(cv["low"], cv["high"])),
            tables.number(
                ABSENT if gain is None else points(gain["mean"]),
                "" if gain is None else interval(gain["low"], gain["high"], signed=True),
            ),
            tables.number(count(record["images_total"])),
        )
        title = "real rows" if not record["round"] else f"round {record['round']}"
        kept = "kept" if record.get("adopted") else "not kept"
        label = tables.name(title, kept if record["round"] else "")
        if not weak:
            rows.append((label, tables.name(""), *(tables.number("") for _ in range(4)), *sums))
        for index, entry in enumerate(weak):
            rows.append(
                (
                    label if not index else tables.name(""),
                    tables.name(entry["class"]),
                    tables.number(
                        percent(entry["f1"]["mean"]),
                        interval(entry["f1"]["low"], entry["f1"]["high"]),
                    ),
                    *(tables.number(count(entry[key])) for key in ("asked", "made", "accepted")),
                    *(sums if not index else (tables.number(""),) * 3),
                )
            )
    design = found["design"]
    notes = [
        f"Within train: {count(design['folds'])} folds over {count(design['train_places'])} places,"
        f" {count(design['seeds'])} networks each ({design['architecture']}, "
        f"{count(design['images_per_cell'])} images); 95 % intervals over places and networks. "
        "Class F1 before the round, macro F1 after it; gain over the round before.",
        f"The loop ended: {_STOPPED[found['stopped']]}.",
    ]
    if design["shared"]:
        notes.append(
            "Labeller and generators are shared between folds and have seen the places that are "
            "judged: gains within train are too high."
        )
    return TableView(
        "Rounds",
        (
            "", "weak class", "F1 %", "asked", "made", "accepted", "macro F1 %", "gain, points",
            "images so far",
        ),
        tuple(rows),
        ("demand/demand.json",),
        tuple(notes),
    )  # fmt: skip


def look_table(found: Mapping[str, Any]) -> TableView | None:
    """The arms on test; None where no sample was ever accepted."""
    look = found["look"]
    if look is None:
        return None
    told = {
        "real+both": "real and accepted",
        "random-curated-size": "real and as many drawn from all that was made",
    }
    several = len({row["architecture"] for row in look["table"]}) > 1
    rows = []
    for row in look["table"]:
        f1, arm = row["f1"], row["arm"]
        rows.append(
            (
                tables.name(
                    f"{arm}, {row['architecture']}" if several else arm, told.get(arm, "control")
                ),
                tables.number(count(look["rows"].get(arm))),
                tables.number(percent(f1["mean"]), interval(f1["low"], f1["high"])),
                tables.number(percent(row["iou"]["mean"])),
            )
        )
    which = ", ".join(map(str, found["tested"]))
    kept = "kept within train" if found["adopted"] else "none was kept within train"
    return TableView(
        "One look at test",
        ("arm", "rows", "macro F1 %", "IoU %"),
        tuple(rows),
        (f"demand/{look['folder']}/results.json",),
        (
            f"Accepted samples of round {which} ({kept}).",
            f"Locked recipes that looked at test in this project: {count(look['ledger'])}.",
        ),
    )


def costs_table(costs: Costs, options: DemandOptions) -> TableView:
    """What a loop would train on and how long it would take."""
    lines = (
        ("labellers, generators, real rows in cross-validation", costs.setup, costs.setup_seconds),
        (f"each of at most {options.rounds} rounds", costs.round, costs.round_seconds),
        ("one look at test, outside the budget", costs.look, costs.look_seconds),
    )
    budget = "none" if options.images is None else f"{options.images:,}"
    return TableView(
        "What the loop would do",
        ("", "images trained", "minutes on two cores"),
        tuple(
            (tables.name(told), tables.number(count(images)), tables.number(f"{seconds / 60:.0f}"))
            for told, images, seconds in lines
        ),
        (),
        (f"Samples made in a round: {count(options.samples)}. Budget of images: {budget}.",),
    )
