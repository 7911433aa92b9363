"""The labeller: how it learned, whether its confidence can be believed, and where it errs."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.classes import ClassTable
from terraloom.report import figures, tables
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import Block, FigureView, Section, TableView, TextView, missing
from terraloom.report.wording import count, interval, percent

_STATE: Final = "segment/labeller/state.json"
_CALIBRATION: Final = "segment/labeller/calibration.json"
_NOISE: Final = "segment/noise/label-noise.json"


def labeller_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Curve, reliability and label noise of the labeller whose masks synthetic samples get."""
    title = "The labeller"
    state = files.json(_STATE)
    if state is None:
        return Section("labeller", title, (missing("segment", "labeller"),))
    blocks: list[Block] = []
    history = state["summary"].get("history", [])
    if history:
        blocks.append(
            FigureView(
                "labeller-curve", "How the labeller learned",
                "A line: macro F1 on val over images seen.",
                figures.labeller_curve(history), (_STATE,),
                ("The weights with the best value are kept, as val may decide.",),
            )
        )  # fmt: skip
    calibration = files.json(_CALIBRATION)
    if calibration and calibration["pixels"]:
        how = (
            "each half of the val places is judged at the temperature of the other half"
            if calibration["after_is_held_out"]
            else "judged on the very pixels that it was fitted on: val has one place only"
        )
        blocks.append(
            FigureView(
                "reliability", "Does 90 % sure mean right nine times out of ten?",
                "Two panels of accuracy over confidence, before and after the temperature; "
                "larger dots hold more pixels.",
                figures.reliability(calibration), (_CALIBRATION,),
                (
                    f"Temperature {calibration['temperature']:.2f}, fitted on "
                    f"{count(calibration['pixels'])} val pixels of {count(calibration['places'])} "
                    f"places; {how}. Error: mean distance of confidence from accuracy. Dots below "
                    "the diagonal: surer than right.",
                ),
            )
        )  # fmt: skip
    else:
        blocks.append(TextView("Its confidence was not calibrated.", "warning"))
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


def _noise(noise: Mapping[str, Any], classes: ClassTable) -> list[Block]:
    rows = [
        (
            tables.name(label),
            tables.number("never named")
            if entry["mean"] is None
            else tables.number(percent(entry["mean"]), interval(entry["low"], entry["high"])),
            tables.number(count(entry["pixels"])),
        )
        for label, entry in zip(
            (*classes.names, "all"), (*noise["wrong"], noise["wrong_of_all"]), strict=True
        )
    ]
    told = (
        f"{noise['folds']} labellers of the same recipe, each judged on train places that it was "
        f"not trained on; {noise['places']} places. Intervals: bootstrap over places."
    )
    return [
        TableView(
            "Label noise: pixels of a class that are something else",
            ("named by the labeller", "wrong, %", "pixels"),
            tuple(rows),
            (_NOISE,),
            (told,),
        ),
        FigureView(
            "label-noise", "What is really there where the labeller names a class",
            "A matrix: columns are the classes named, rows what the real labels say; percent.",
            figures.confusion(noise["confusion"], classes), (_NOISE,),
            (f"Columns sum to 100 %. {told}",),
        ),
    ]  # fmt: skip
