"""The demand-driven loop: which classes were weak, what was made for them, and what it brought."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from terraloom.report import tables
from terraloom.report.drawing import BLUE, GREY, canvas, drawn
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import Block, Cell, Drawing, FigureView, Section, TableView, TextView
from terraloom.report.wording import ABSENT, count, interval, percent, plural, points

LOOP: Final = "demand/demand.json"
_MARKERS: Final = ("o", "^", "D", "v", "P")
_STOPPED: Final = {
    "rounds": "all rounds were run",
    "images": "the budget of images is spent",
    "no gain": "the last round's gain is not above 0 with its whole interval",
    "nothing accepted": "curation accepted no sample of the last round",
    "no weak class": "no class is weaker than the others",
}


def demand_sections(files: ProjectFiles) -> tuple[Section, ...]:
    """The section, or nothing where no loop was finished in the project."""
    found = files.json(LOOP)
    if found is None:
        return ()
    blocks: list[Block] = [TextView(_answer(found)), rounds_table(found)]
    if any(record["round"] for record in found["rounds"]):
        blocks.append(
            FigureView(
                "demand-rounds",
                "F1 of weak classes within train, round by round",
                "Lines of F1 per class over rounds; macro F1 dashed. The table above holds those "
                "of the weak classes.",
                _lines(found["rounds"]),
                (LOOP,),
                ("Every class that was ever weak, and the mean over all classes (dashed).",),
            )
        )
    look = look_table(found)
    if look is not None:
        blocks.append(look)
    return (Section("demand", "What was made on demand", tuple(blocks)),)


def _answer(found: Mapping[str, Any]) -> str:
    """What the loop came to, in one or two sentences."""
    rounds = sum(record["round"] > 0 for record in found["rounds"])
    kept = len(found["adopted"])
    told = f"{plural(rounds, 'round')}, of which {count(kept)} brought a gain within train."
    look = found["look"]
    if look is None:
        return f"{told} No sample was accepted, so test was not looked at."
    return f"{told} On test: {look['sentence']}"


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
        (LOOP,),
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


def _class_f1(record: Mapping[str, Any], name: str) -> float:
    """Of one class within train, after a round."""
    found: float = next(
        entry["f1"]["mean"] for entry in record["cv"]["per_class"] if entry["class"] == name
    )
    return found


def _lines(rounds: Sequence[Mapping[str, Any]]) -> Drawing:
    """F1 within train of every class that was ever weak, and the macro F1."""
    weak = dict.fromkeys(entry["class"] for record in rounds for entry in record.get("weak", []))
    steps = [record["round"] for record in rounds]
    with canvas(2.6) as figure:
        axes = figure.subplots()
        for index, name in enumerate(weak):
            values = [100 * _class_f1(record, name) for record in rounds]
            marker = _MARKERS[index % len(_MARKERS)]
            axes.plot(steps, values, marker, color=BLUE, linestyle="-", label=name)
        macro = [100 * record["cv"]["f1"]["mean"] for record in rounds]
        axes.plot(steps, macro, "s--", color=GREY, label="macro")
        axes.set_xticks(steps, ["real rows", *(f"round {step}" for step in steps[1:])])
        axes.set_ylabel("F1 within train, %")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return drawn(figure)
