"""The labeller: how it learned, whether its confidence can be believed, and where it errs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from terraloom.classes import ClassTable
from terraloom.files import read_lines
from terraloom.report import figures, tables
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import Block, FigureView, Section, TableView, TextView, missing
from terraloom.report.wording import ABSENT, count, interval, percent, plural

_ALONE: Final = "segment/{}/calibration.json"
_TOGETHER: Final = "label/calibration.json"
_NOISE: Final = "segment/noise/label-noise.json"
_NINE_OF_TEN: Final = (13 / 15, 14 / 15)
"""The bin of confidence that holds 90 %."""


def labeller_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Curves, reliability, confusion and label noise of what labels synthetic samples."""
    title = "The labeller"
    states = _states(files)
    if not states:
        return Section("labeller", title, (missing("segment", "labeller"),))
    blocks: list[Block] = _curves(files, states)
    if files.json(_TOGETHER):
        blocks += _calibration(files, classes, _TOGETHER, ", all looks together")
        blocks.append(_members_table(files, states))
    else:
        blocks += _calibration(files, classes, _ALONE.format("labeller"), "")
        if len(states) > 1:
            blocks.append(_members_table(files, states))
    noise = files.json(_NOISE)
    if noise:
        blocks += _noise(noise, classes)
    else:
        blocks.append(
            TextView(
                "How often it errs on train places that it never saw was not estimated "
                "(segment.noise_folds = 0).",
                "small",
            )
        )
    return Section("labeller", title, tuple(blocks))


def _states(files: ProjectFiles) -> dict[str, Mapping[str, Any]]:
    """Records of the labellers by folder, the first one first."""
    found: dict[str, Mapping[str, Any]] = {}
    name = "labeller"
    while (state := files.json(f"segment/{name}/state.json")) is not None:
        found[name] = state
        name = f"labeller-{len(found) + 1}"
    return found


def _curves(files: ProjectFiles, states: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    histories = {name: state["summary"].get("history", []) for name, state in states.items()}
    histories = {name: history for name, history in histories.items() if history}
    if not histories:
        return []
    losses = {}
    for name in histories:
        # A training that was cut off logs a check again: the last line of an image count holds.
        lines = read_lines(files.folder / "segment" / name / "log.jsonl")
        loss = {int(line["images"]): float(line["loss"]) for line in lines if "loss" in line}
        if loss:
            losses[name] = sorted(loss.items())
    notes = []
    for name, history in histories.items():
        best = max(history, key=lambda entry: entry["val_f1"])
        end = history[-1]
        which = f"{name}: best" if len(histories) > 1 else "Best"
        notes.append(
            f"{which} after {count(best['images'])} of {count(end['images'])} images, macro F1 "
            f"{percent(best['val_f1'])} % on val; those weights are kept, as val may decide. "
            + (
                "The last check is the best one: a longer training may learn more."
                if best is end and len(history) > 1
                else f"The last check stands at {percent(end['val_f1'])} %."
            )
        )
    if losses:
        notes.append("The loss is that of the one batch before each check, so it jumps.")
    sources = tuple(
        f"segment/{name}/{file}"
        for name in histories
        for file in ("state.json", "log.jsonl")
        if file == "state.json" or name in losses
    )
    return [
        FigureView(
            "labeller-curve", "How the labeller learned",
            "Lines over images seen: loss of training batches, and macro F1 and accuracy on val.",
            figures.labeller_curves(histories, losses), sources, tuple(notes),
        )
    ]  # fmt: skip


def _calibration(
    files: ProjectFiles, classes: ClassTable, source: str, several: str
) -> list[Block]:
    """Reliability, confidence per class and confusion on val of the labeller, or of all looks."""
    found = files.json(source)
    if not found:
        return [TextView(f"Its confidence was not calibrated{several}.", "warning")]
    if not found["pixels"]:
        told = f"Its confidence was not calibrated{several}: val holds no known pixel."
        return [TextView(told, "warning")]
    how = (
        "“after” judges each half of the val places at the temperature of the other half"
        if found["after_is_held_out"]
        else "“after” is judged on the very pixels that the temperature was fitted on, since val "
        "has one place only"
    )
    blocks: list[Block] = [
        FigureView(
            "reliability", f"Does 90 % sure mean right nine times out of ten{several}?",
            "Two panels of accuracy over confidence, before and after the temperature; "
            "larger dots hold more pixels.",
            figures.reliability(found), (source,),
            (
                f"{_verdict(found)} Dots below the diagonal: surer than right.",
                f"Temperature {found['temperature']:.2f}, fitted on {count(found['pixels'])} val "
                f"pixels of {plural(found['places'], 'place')}; {how}. Error: mean distance of "
                "confidence from accuracy over 15 bins of equal width. Measured on real images: "
                "how sure it may be of synthetic ones, which look different, it cannot say.",
            ),
        )
    ]  # fmt: skip
    if "classes" in found["after"]:
        blocks.append(_classes_table(found, classes, source, several))
    if "confusion" in found:
        blocks.append(
            FigureView(
                "confusion", f"What is there where the labeller names a class{several}",
                "A matrix: columns are the classes named, rows what the val labels say; percent.",
                figures.confusion(found["confusion"], classes), (source,),
                (
                    "A column reads: of the pixels that are named so, how many are what; it sums "
                    f"to 100 %. All known pixels of {plural(found['rows'], 'val row')} in "
                    f"{plural(found['places'], 'place')}. Val chose the weights, so the figures "
                    "flatter a little.",
                ),
            )
        )  # fmt: skip
    return blocks


def _members_table(files: ProjectFiles, states: Mapping[str, Mapping[str, Any]]) -> TableView:
    """Temperature and error of every labeller by itself, and of all looks where they are joined."""
    looks = {name: _ALONE.format(name) for name in states} | {"all looks together": _TOGETHER}
    rows, sources = [], []
    for name, source in looks.items():
        found = files.json(source)
        if not found or not found["pixels"]:
            continue
        sources.append(source)
        confusion = found.get("confusion")
        shares = [found["before"]["ece"], found["after"]["ece"]]
        shares.append(_right(confusion) if confusion else None)
        rows.append(
            (
                tables.name(name),
                tables.number(f"{found['temperature']:.2f}"),
                *(tables.number(percent(share)) for share in shares),
            )
        )
    return TableView(
        "Each labeller by itself, and all looks together, on val",
        ("looks", "temperature", "error before, points", "error after, points", "right, %"),
        tuple(rows),
        tuple(sources),
        (
            "Synthetic samples are labelled by all looks together: the mean of their "
            "probabilities as the networks say them, at the temperature of that mean. The first "
            "labeller alone, at its own temperature, serves whatever else asks a labeller.",
        ),
    )


def _right(confusion: Sequence[Sequence[int]]) -> float:
    total = sum(map(sum, confusion))
    return sum(row[label] for label, row in enumerate(confusion)) / max(1, total)


def _verdict(found: Mapping[str, Any]) -> str:
    """One plain sentence on what 90 % means, or on the errors where hardly a pixel is so sure."""
    low, high = _NINE_OF_TEN
    there = [entry for entry in found["after"]["bins"] if low <= entry["confidence"] < high]
    before, after = (100 * found[key]["ece"] for key in ("before", "after"))
    told = (
        f"Confidence lies {after:.1f} points from accuracy with the temperature, {before:.1f} "
        "without it."
    )
    if not there:
        return told
    (entry,) = there
    return (
        f"Where it is about 90 % sure ({percent(entry['confidence'])} % on average), it is right "
        f"{percent(entry['accuracy'])} % of the time. {told}"
    )


def _classes_table(
    found: Mapping[str, Any], classes: ClassTable, source: str, several: str
) -> TableView:
    rows = [
        (
            tables.name(label),
            tables.number(percent(entry["confidence"])),
            tables.number(percent(entry["accuracy"])),
            tables.number(count(entry["pixels"]) if entry["pixels"] else ABSENT),
        )
        for label, entry in zip(classes.names, found["after"]["classes"], strict=True)
    ]
    never = any(not entry["pixels"] for entry in found["after"]["classes"])
    return TableView(
        f"Confidence and truth per class{several}, on val",
        ("named by the labeller", "confidence, %", "right, %", "pixels"),
        tuple(rows),
        (source,),
        (
            "One temperature sets all classes right on the whole, not each of them: where the two "
            "columns part, the confidence of that class misleads."
            + (f" {ABSENT}: never named." if never else ""),
        ),
    )


def _noise(noise: Mapping[str, Any], classes: ClassTable) -> list[Block]:
    rows = [
        (
            tables.name(label),
            tables.number("never named")
            if entry["mean"] is None
            else tables.number(percent(entry["mean"]), interval(entry["low"], entry["high"])),
            tables.number(count(entry["pixels"])),
            tables.number(count(entry.get("places"))),
        )
        for label, entry in zip(
            (*classes.names, "all"), (*noise["wrong"], noise["wrong_of_all"]), strict=True
        )
    ]
    of_all = noise["wrong_of_all"]
    said = (
        f"On train places that it never saw, {percent(of_all['mean'])} % of its labels are wrong "
        f"{interval(of_all['low'], of_all['high'])}."
    )
    told = (
        f"{noise['folds']} labellers of the same recipe, one look each, judged on train places "
        f"that they were not trained on: {plural(noise['places'], 'place')} in all, "
        f"{count(noise['pixels'])} pixels. They learn from fewer rows than the labeller itself, "
        "so they may err more."
    )
    return [
        TableView(
            "Label noise: pixels of a class that are something else",
            ("named by the labeller", "wrong, %", "pixels", "places"),
            tuple(rows),
            (_NOISE,),
            (
                f"{said} {told} Intervals: 95 %, bootstrap over places; with few places they are "
                "too narrow.",
            ),
        ),
        FigureView(
            "label-noise", "What is there where it names a class, on places that it never saw",
            "A matrix: columns are the classes named, rows what the real labels say; percent.",
            figures.confusion(noise["confusion"], classes), (_NOISE,),
            (f"Columns sum to 100 %. {told}",),
        ),
    ]  # fmt: skip
