"""What each arm takes for what: one confusion matrix per arm, over all runs and test places."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from terraloom.report import benchmark_figures
from terraloom.report.reading import CHAINS, CellRecord, ProjectFiles
from terraloom.report.views import Block, FigureView, Section, missing
from terraloom.report.wording import listed, plural
from terraloom.types import Int64Array

_SOURCE: Final = "benchmark/cells/*/result.json"
_PER_FIGURE: Final = 4


def confusion_section(files: ProjectFiles) -> Section:
    """One matrix per arm, controls first as the design names them; architectures are summed."""
    results = files.results
    title = "What each arm confuses"
    if results is None:
        return Section("verdict-confusion", title, (missing("benchmark", "confusion matrix"),))
    names = results["design"]["classes"]
    arms = [arm for arm in results["design"]["arms"] if _own(files.cells, arm)]
    if not arms:
        return Section("verdict-confusion", title, (missing("benchmark", "confusion matrix"),))
    source = f"{CHAINS}/*/{_SOURCE}" if files.chains else _SOURCE
    blocks: list[Block] = []
    for start in range(0, len(arms), _PER_FIGURE):
        shown = arms[start : start + _PER_FIGURE]
        runs = {arm: _own(files.cells, arm) for arm in shown}
        totals = {arm: _total(cells) for arm, cells in runs.items()}
        several = len(arms) > _PER_FIGURE
        part = f"-{start // _PER_FIGURE + 1}" if several else ""
        told = "; ".join(f"{arm}: {plural(len(cells), 'run')}" for arm, cells in runs.items())
        blocks.append(
            FigureView(
                f"arm-confusion{part}",
                f"Confusion on test: {listed(shown)}" if several else "Confusion on test, by arm",
                "One matrix per arm: rows what is really there, columns what the arm says; "
                "percent of the row.",
                benchmark_figures.arm_confusions(totals, names),
                (source,),
                (
                    "A row reads: of the pixels that really are this class, how many are said to "
                    "be what; it sums to 100 %, and its diagonal is the recall. An empty row: the "
                    f"class is absent from test. All test places, summed over runs ({told}).",
                ),
            )
        )
    return Section("verdict-confusion", title, tuple(blocks))


def _own(cells: Sequence[CellRecord], arm: str) -> list[CellRecord]:
    return [cell for cell in cells if cell.arm == arm]


def _total(cells: Sequence[CellRecord]) -> Int64Array:
    total: Int64Array = np.sum([cell.confusion for cell in cells], axis=0)
    return total
