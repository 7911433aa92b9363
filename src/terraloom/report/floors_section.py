"""Sanity floors: do the networks beat the commonest class, and colour alone?"""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.report import tables
from terraloom.report.reading import CHAINS, ProjectFiles
from terraloom.report.views import Block, Cell, Section, TableView, TextView, missing
from terraloom.report.wording import count, interval, percent

SEGMENT: Final = "segment/floors.json"
BENCHMARK: Final = "benchmark/floors.json"
_LABELLER: Final = "segment/labeller/state.json"
_METRICS: Final = ("f1", "iou", "precision", "recall", "accuracy")


def floors_section(files: ProjectFiles) -> Section:
    """Baselines beside the networks, on val and on test, and which network does not beat them."""
    blocks: list[Block] = []
    labeller, val = files.json(_LABELLER), files.json(SEGMENT)
    if val and labeller:
        own = {"the labeller": labeller["summary"]["best_val_f1"]}
        cells = [
            (tables.name("the labeller"), tables.number(percent(own["the labeller"])))
            + (tables.number(""),) * (len(_METRICS) - 1)
        ]
        blocks += _compared(val, own, cells, (SEGMENT, _LABELLER))
    source = f"{CHAINS}/*/{BENCHMARK}" if files.chains else BENCHMARK
    test = _mean_of_chains(files) if files.chains else files.json(BENCHMARK)
    results = files.results
    if test and results:
        rows = {_arm(row, results): row for row in results["table"]}
        arms = {name: row["f1"]["mean"] for name, row in rows.items()}
        cells = [
            (
                tables.name(name),
                tables.number(
                    percent(row["f1"]["mean"]), interval(row["f1"]["low"], row["f1"]["high"])
                ),
                *(tables.number(percent(row[metric]["mean"])) for metric in _METRICS[1:-1]),
                tables.number(percent(row["accuracy"])),
            )
            for name, row in rows.items()
        ]
        blocks += _compared(test, arms, cells, (source, tables.RESULTS))
    if not blocks:
        blocks.append(missing("segment", "sanity floor"))
    return Section("floors", "Do the networks beat simple baselines?", tuple(blocks))


def _mean_of_chains(files: ProjectFiles) -> dict[str, Any] | None:
    """Floors of a cross-validation: means over the chains, each fitted on its own train rows."""
    chains = [files.json(f"{CHAINS}/{chain}/{BENCHMARK}") for chain in files.chains]
    found = [floors for floors in chains if floors is not None]
    if not found or len(found) < len(chains):
        return None
    means = {
        name: {
            metric: sum(chain["floors"][name][metric] for chain in found) / len(found)
            for metric in _METRICS
        }
        for name in found[0]["floors"]
    }
    commonest = {chain["majority_class"] for chain in found}
    return {
        **found[0],
        "floors": means,
        "of": f" Means over {count(len(found))} chains, each with floors of its own.",
        "majority_class": commonest.pop() if len(commonest) == 1 else "the commonest class",
    }


def _compared(
    floors: Mapping[str, Any],
    networks: Mapping[str, float],
    rows: list[tuple[Cell, ...]],
    sources: tuple[str, ...],
) -> list[Block]:
    names = {
        "majority": f"always {floors['majority_class']}",
        "forest": "forest, pixel by pixel",
    }
    own = [
        (
            tables.name(names[name], "floor"),
            *(tables.number(percent(entry[metric])) for metric in _METRICS),
        )
        for name, entry in floors["floors"].items()
    ]
    table = TableView(
        f"Floors and networks on {floors['role']}, in percent",
        ("", "macro F1", "IoU", "precision", "recall", "accuracy"),
        (*own, *rows),
        sources,
        (
            "Floors: the commonest class of train, everywhere; and a random forest of "
            f"{floors['trees']} trees on {count(floors['train_pixels'])} train pixels, which sees "
            "the colour of one pixel and nothing around it. A network must beat these."
            + floors.get("of", ""),
        ),
    )
    told = [
        f"{network} ({percent(f1)} %) does not beat {names[name]} ({percent(entry['f1'])} %)"
        for network, f1 in networks.items()
        for name, entry in floors["floors"].items()
        if f1 <= entry["f1"]
    ]
    if not told:
        return [table, TextView(f"On {floors['role']} every network beats both floors.", "small")]
    return [
        table,
        TextView(
            f"On {floors['role']}, macro F1: {'; '.join(told)}. Such a network has learned less "
            "than one pixel or the commonest class tell: what its arm shows counts for little.",
            "warning",
        ),
    ]


def _arm(row: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    several = len({other["architecture"] for other in results["table"]}) > 1
    return f"{row['arm']}, {row['architecture']}" if several else str(row["arm"])
