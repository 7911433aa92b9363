"""How each generator did at its last check, beside what real images reach on the same crops."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.report.tables import name, number
from terraloom.report.views import Block, Cell, TableView, TextView
from terraloom.report.wording import count, distance, percent

_SOURCE: Final = "generate/models/*/state.json"
_HEADERS: Final = (
    "generator",
    "images",
    "agreement",
    "macro IoU",
    "two seeds differ by",
    "tones",
    "kernel ↓",
    "unlike samples",
    "nearest train",
    "copies",
)


def running_figures(states: Mapping[str, Any]) -> list[Block]:
    """Table and alarms of the last check of generators of images; empty where none was judged.

    Args:
        states: record of each generator, by name.
    """
    rows: list[tuple[Cell, ...]] = []
    blocks: list[Block] = []
    told: list[str] = []
    for generator, state in states.items():
        for kind, record in ((generator, state), (f"{generator}, few steps", _student(state))):
            last = _last(record)
            if last is None:
                continue
            rows.append(_row(kind, last))
            told += [f"{kind}: {alarm}." for alarm in last["alarms"]]
            if last.get("kernel_unit") == 1.0:
                told.append(
                    f"{kind}: shuffled pixels are no farther from val than real ones in the "
                    "labeller's features, so the kernel distance has no scale here."
                )
    if not rows:
        return []
    blocks.append(
        TableView(
            "Generators at their last check",
            _HEADERS,
            tuple(rows),
            (_SOURCE,),
            (
                "On 64 fixed val crops, in percent unless noted; small: what real images reach. "
                "Agreement and macro IoU: what the labeller reads in samples against the masks "
                "asked for, and in the real images of those masks. Far above that, samples show "
                "classes more plainly than the world does. Seeds: mean difference for one mask, "
                "and between real images of different masks. Tones: how much the mean of an image "
                "differs from image to image. Kernel distance to val in the "
                "labeller's features, 1 being shuffled pixels, and that of train crops. Unlike "
                "samples: effective number among 64, and of train crops. Nearest: distance to a "
                "train crop, 1 as for val crops. No ranking follows from one training each.",
            ),
        )
    )
    blocks += [TextView(text, tone="warning") for text in told]
    return blocks


def _student(state: Any) -> Any:  # noqa: ANN401 - a record as it was read
    return None if state is None else state.get("distilled")


def _last(record: Any) -> Any | None:  # noqa: ANN401
    """Figures of the last check, where they are those of `monitoring`."""
    if record is None or not record["history"] or "kernel" not in record["history"][-1]:
        return None
    return record["history"][-1]


def _row(kind: str, last: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        name(kind),
        number(count(last["images"])),
        _beside(percent(last.get("agreement")), percent(last["agreement_real"])),
        _beside(percent(last.get("miou")), percent(last["miou_real"])),
        _beside(percent(last.get("diversity")), percent(last["diversity_real"])),
        _beside(percent(last.get("tones")), percent(last.get("tones_real"))),
        _beside(distance(last["kernel"]), distance(last["kernel_floor"])),
        _beside(f"{last['variety']:.1f}", f"{last['variety_real']:.1f}"),
        number(f"{last['nearest']:.2f}"),
        number(percent(last["copies"])),
    )


def _beside(value: str, real: str) -> Cell:
    return Cell(value, f"real {real}", "number")
