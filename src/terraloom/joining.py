"""One table of runs out of the benchmarks of many chains, each of which may lack some arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from terraloom.arms import arm_named


@dataclass(frozen=True)
class ChainRuns:
    """What the benchmark of one chain left behind."""

    name: str
    cells: Sequence[Mapping[str, Any]]
    """Its runs as `judge` takes them, with `fold` and `chain`."""
    rows: Mapping[str, int]
    """Training rows per arm."""
    missing: Mapping[str, str]
    """Why arms had no rows to train on, by arm."""


@dataclass(frozen=True)
class JoinedRuns:
    """Runs of all chains; every arm has them in every chain."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    """Training rows per arm, mean over chains."""
    missing: dict[str, str] = field(default_factory=dict)
    """Arms that are left out, since a chain lacks them: that chain, and why."""
    real_alone: dict[str, list[str]] = field(default_factory=dict)
    """Arms that are real rows alone in some chains, since curation kept nothing there: which."""


def join_runs(chains: Sequence[ChainRuns]) -> JoinedRuns:
    """Bring the runs of all chains together.

    An arm that joins real and synthetic rows stands for a rule: add what curation keeps. In a chain
    where it keeps nothing the rule trains on real rows alone, so the arm takes over those runs;
    leaving the chain out would judge the generators by their better days. Any other arm that one
    chain lacks cannot be paired, and is left out of all.
    """
    joined = JoinedRuns()
    somewhere = {name for chain in chains for name in chain.rows}
    counts: dict[str, list[int]] = {}
    for chain in chains:
        cells, rows = [dict(cell) for cell in chain.cells], dict(chain.rows)
        for name, reason in chain.missing.items():
            stand_in = arm_named(name).without_samples
            if name not in somewhere or stand_in is None or stand_in not in chain.rows:
                joined.missing[name] = f"{chain.name}: {reason}"
                continue
            joined.real_alone.setdefault(name, []).append(chain.name)
            rows[name] = chain.rows[stand_in]
            cells += [{**cell, "arm": name} for cell in chain.cells if cell["arm"] == stand_in]
        joined.cells.extend(cells)
        for name, count in rows.items():
            counts.setdefault(name, []).append(count)
    joined.cells[:] = [cell for cell in joined.cells if cell["arm"] not in joined.missing]
    for name, found in counts.items():
        if name not in joined.missing:
            joined.rows[name] = round(sum(found) / len(found))
    for name in joined.missing:
        joined.real_alone.pop(name, None)
    return joined
