"""Cross-validation: the whole chain on every fold and every seed, and one verdict over all.

A chain is an ordinary project: its fold of places is test, its seed redraws val, generators,
samples, labeller, segmenters and order. Chains share what the source fetched and nothing else.
Whoever starts the same command again, here or on another machine that sees the folder, takes the
chains that nobody works on.
"""

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from terraloom.arms import RECORDED
from terraloom.caption_joining import join_captions, read_caption_chain
from terraloom.errors import InputError, ProjectBusy, SettingsError
from terraloom.estimates import estimate_run
from terraloom.files import (
    check_writable,
    make_folder,
    read_json,
    read_lines,
    sha256_of_value,
    write_json,
    write_text,
)
from terraloom.joining import ChainRuns, join_runs
from terraloom.judging import judge
from terraloom.ledger import LEDGER_NAME
from terraloom.pipeline import Pipeline
from terraloom.progress import console
from terraloom.seeds import derive_seed
from terraloom.settings import Settings
from terraloom.stages import CAPTION_BENCHMARK, SETTINGS_COPY, report_of, stage_named

CHAINS: Final = "chains"
_BENCHMARK: Final = "benchmark"
_WAIT_S: Final = 10.0


@dataclass(frozen=True)
class Chain:
    """One fold under one seed."""

    fold: int
    seed: int
    """Counted from 0; the project's seed is the file's plus this."""
    pipeline: Pipeline

    @property
    def name(self) -> str:
        """As its folder is called."""
        return f"fold-{self.fold}-seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """Its project folder."""
        return self.pipeline.context.project.folder

    @property
    def last(self) -> str:
        """The last stage that is run: the captioners' benchmark where it is on."""
        settings = self.pipeline.context.settings
        return CAPTION_BENCHMARK if settings.caption_benchmark.is_on else _BENCHMARK

    @property
    def is_done(self) -> bool:
        """Whether its benchmarks are finished with these settings."""
        stages = [stage_named(name) for name in dict.fromkeys((_BENCHMARK, self.last))]
        return all(self.pipeline.state(stage) == "done" for stage in stages)


class CrossValidation:
    """All chains of one settings file.

    Args:
        settings: of every chain; `project.seed` and `split.fold` are set per chain. Where
            `benchmark.seeds` is more than 1, segmenter seeds are nested in generator seeds.
        folder: receives `chains/`, `inputs/`, `benchmark/`, `benchmark-captions/` where it is on,
            and the ledger of looks at test.
        folds: grouped folds over all places.
        seeds: of the whole chain, per fold.

    Raises:
        SettingsError: fewer than 2 folds, or no seed.
    """

    def __init__(self, settings: Settings, folder: Path, folds: int, seeds: int) -> None:
        if folds < 2 or seeds < 1:
            raise SettingsError(
                f"cross-validation of {folds} folds and {seeds} seeds: use 2 folds or more and at "
                "least 1 seed (3 for a figure that is shown, 5 for a claim)."
            )
        self.settings = settings
        self.folder = folder
        self.folds = folds
        self.seeds = seeds
        first = settings.project.seed
        data_seed = settings.project.data_seed
        self.chains: list[Chain] = []
        for chain_seed in range(seeds):
            for fold in range(folds):
                own = settings.model_copy(
                    update={
                        "project": settings.project.model_copy(
                            update={
                                "seed": first + chain_seed,
                                "data_seed": first if data_seed is None else data_seed,
                            }
                        ),
                        "split": settings.split.model_copy(update={"folds": folds, "fold": fold}),
                    }
                )
                # One source for all: what the user gave is listed and hashed once.
                sibling = self.chains[0].pipeline.context if self.chains else None
                name = f"fold-{fold}-seed-{chain_seed}"
                pipeline = Pipeline(own, folder / CHAINS / name, folder / "inputs", sibling)
                self.chains.append(Chain(fold, chain_seed, pipeline))

    def run(self) -> dict[str, Any]:
        """Run every chain that is not done, then judge all of them together.

        Returns:
            The content of `benchmark/results.json`, as `judge` makes it, with the recipe's hash
            and the arms that were left out.
        """
        self.chains[0].pipeline.context.source.given()  # wrong inputs are told before all else
        check_writable(self.folder)
        write_json(self.folder / SETTINGS_COPY, self.settings.model_dump(mode="json"))
        recipe = self._recipe()
        write_json(self.folder / "benchmark" / "recipe.json", recipe)
        self._acquire()
        waiting = list(self.chains)
        while waiting:
            busy = []
            for chain in waiting:
                if not self._run_chain(chain):
                    busy.append(chain)
            if len(busy) == len(waiting):
                console.print(
                    f"waiting for {len(busy)} chains that other processes work on", soft_wrap=True
                )
                time.sleep(_WAIT_S)
            waiting = busy
        return self._join(str(recipe["sha256"]))

    def estimate(self) -> dict[str, Any]:
        """Chains done and left, and about how many seconds these take on two CPU cores."""
        left = [chain for chain in self.chains if not chain.is_done]
        seconds = 0.0
        for chain in left:
            lines = estimate_run(chain.pipeline, until=chain.last)
            seconds += sum(line.seconds or 0.0 for line in lines)
        return {
            "folds": self.folds,
            "seeds": self.seeds,
            "chains": len(self.chains),
            "left": len(left),
            "cells_per_chain": len(self.settings.benchmark.every_arm)
            * len(self.settings.benchmark.architectures)
            * self.settings.benchmark.seeds,
            "captioners_per_chain": len(self.settings.caption_benchmark.arms)
            * self.settings.caption_benchmark.seeds,
            "seconds": round(seconds, 1),
        }

    def _recipe(self) -> dict[str, Any]:
        recipe = {
            "settings": self.settings.model_dump(mode="json"),
            "folds": self.folds,
            "seeds": self.seeds,
        }
        return {"sha256": sha256_of_value(recipe), **recipe}

    def _acquire(self) -> None:
        """Fetch what the source needs once, for all chains."""
        context = self.chains[0].pipeline.context
        with _alone(self.folder / "inputs"):
            context.source.acquire(context.acquired)

    def _run_chain(self, chain: Chain) -> bool:
        """Run a chain unless another process does; whether it is done."""
        if chain.is_done:
            return True
        number = self.chains.index(chain) + 1
        console.print(
            f"[bold]chain {number} of {len(self.chains)}[/]: fold {chain.fold}, seed {chain.seed}",
            soft_wrap=True,
        )
        try:
            chain.pipeline.run(until=chain.last)
        except ProjectBusy:
            console.print("  another process works on it", soft_wrap=True)
            return False
        return True

    def _join(self, recipe: str) -> dict[str, Any]:
        joined = join_runs([_runs_of(chain) for chain in self.chains])
        cells = joined.cells
        if not cells:
            raise InputError("no arm of the benchmark has rows in every chain.")
        classes = self.chains[0].pipeline.context.classes
        training = self.settings.benchmark.training
        benchmark = self.settings.benchmark.model_copy(
            update={
                "training": training.model_copy(
                    update={"images": max(cell["images"] for cell in cells), "epochs": None}
                )
            }
        )
        seed = derive_seed(self.settings.project.seed, "benchmark")
        results = judge(cells, classes.names, benchmark, seed)
        results["recipe_sha256"] = recipe
        results["missing_arms"] = list(joined.missing)
        results["missing_because"] = joined.missing
        results["real_alone"] = joined.real_alone
        results["rows"] = joined.rows
        self._join_ledgers(recipe)
        write_json(self.folder / _BENCHMARK / "results.json", results)
        if self.settings.caption_benchmark.is_on:
            self._join_captions(recipe)
        else:  # what an earlier recipe found is no part of this page
            (self.folder / CAPTION_BENCHMARK / "results.json").unlink(missing_ok=True)
        report_of(self.chains[0].pipeline.context, self.folder)
        return results

    def _join_captions(self, recipe: str) -> None:
        chains = [
            read_caption_chain(chain.folder / CAPTION_BENCHMARK, chain.name, chain.fold, chain.seed)
            for chain in self.chains
        ]
        results = join_captions(
            chains,
            draws=self.settings.caption_benchmark.draws,
            seed=derive_seed(self.settings.project.seed, "caption benchmark"),
        )
        results["recipe_sha256"] = recipe
        write_json(self.folder / CAPTION_BENCHMARK / "results.json", results)

    def _join_ledgers(self, recipe: str) -> None:
        """Every look at test of every chain; those of the present settings under one recipe."""
        lines = []
        for chain in self.chains:
            stages = dict.fromkeys((_BENCHMARK, chain.last))
            own = {read_json(chain.folder / name / "recipe.json")["sha256"] for name in stages}
            for look in read_lines(chain.folder / LEDGER_NAME):
                known = recipe if look["recipe_sha256"] in own else look["recipe_sha256"]
                cell = f"{chain.name}/{look['cell']}"
                lines.append({**look, "recipe_sha256": known, "cell": cell})
        write_text(self.folder / LEDGER_NAME, _as_lines(lines))


def _runs_of(chain: Chain) -> ChainRuns:
    """A chain's own runs, as stored; controls recorded by earlier recipes are not."""
    results = read_json(chain.folder / _BENCHMARK / "results.json")
    cells = []
    for cell in results["cells"]:
        if not cell["arm"].startswith(RECORDED):
            name = f"{cell['architecture']}-{cell['arm']}-{cell['seed']}"
            stored = read_json(chain.folder / _BENCHMARK / "cells" / name / "result.json")
            cells.append({**stored, "fold": chain.fold, "chain": chain.seed})
    return ChainRuns(chain.name, cells, results["rows"], results["missing_because"])


def _as_lines(values: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, sort_keys=True) + "\n" for value in values)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes; waits for them."""
    make_folder(folder)
    with open(folder / ".lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
