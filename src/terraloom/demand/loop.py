"""The loop: weak classes → plan → generate → accept → retrain, within a budget; then one look.

State lies on disk alone: every table, training and figure of a round is written once and never made
again, so that the same command goes on after a kill and ends with the same bytes. What a round adds
is kept for the next where its gain in cross-validation lies above 0 with its whole interval; the
first round without ends the loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from terraloom.benchmarking import Inputs, run_benchmark
from terraloom.controls import FOLDER_NAME
from terraloom.dataset.rows import TrainRows, train_rows
from terraloom.demand.acceptance import Accepted, curating_scorers, make_round
from terraloom.demand.chains import Chain, fold_chain, whole_chain
from terraloom.demand.folds import Fold, Scope, fold_scope, outside, train_folds, whole_scope
from terraloom.demand.options import (
    DemandOptions,
    costs_of,
    look_settings,
    validation_training,
)
from terraloom.demand.planning import plan_round, with_quotas
from terraloom.demand.validation import cross_validate
from terraloom.demand.weakness import (
    Demand,
    class_figures,
    gain,
    macro_f1,
    share_out,
    weak_classes,
)
from terraloom.errors import InputError
from terraloom.files import check_writable, read_json, sha256_of_value, write_json
from terraloom.ledger import LEDGER_NAME, looks_at_test
from terraloom.pipeline import Pipeline
from terraloom.progress import console
from terraloom.seeds import derive_seed
from terraloom.segmenting import Recipe
from terraloom.tables import Shard, Table, write_table
from terraloom.types import Int64Array

FOLDER: Final = "demand"
RESULT: Final = "demand.json"
_LOCK: Final = "loop.json"
_ROUND: Final = "round.json"
_SECTIONS: Final = (
    "segment",
    "segmenters",
    "generate",
    "generators",
    "label",
    "score",
    "scorers",
    "curate",
    "benchmark",
)
"""Of the settings, that decide what a loop finds in given rows."""


@dataclass(frozen=True)
class _Party:
    """One scope with its chain, and the fold that it leaves out, if any."""

    scope: Scope
    chain: Chain
    fold: Fold | None


class DemandLoop:
    """One loop in one project folder."""

    def __init__(self, pipeline: Pipeline, options: DemandOptions) -> None:
        self.pipeline = pipeline
        self.context = pipeline.context
        self.options = options
        self.folder = self.context.project.folder / FOLDER
        self.seed = derive_seed(self.context.seed, "demand")

    def run(self) -> dict[str, Any]:
        """Build and label where that is not done, run the rounds, look at test once.

        Returns:
            The content of demand/demand.json.

        Raises:
            InputError: the folder holds a loop of another design, the budget does not suffice for
                the setup, no generator can be asked for a class, or a rule names no column.
        """
        # A changed design is told before anything is trained for it.
        self._check_design({})
        self.pipeline.run(until="segment")
        with self.context.project.locked():
            check_writable(self.folder)
            self.real = self.context.table("build", "samples")
            self.whole = whole_scope(self.real, self.folder, self.context.cache)
            self.costs = costs_of(self.context.settings, self.options, len(self.whole.train))
            self._check_budget()
            curating_scorers(
                self.context.settings, self.context.settings.curate, self.context, self.seed
            )
            self._lock()
            self.folds = train_folds(self.real, self.options.folds, self.seed, self.context.cache)
            rounds, stopped = self._rounds()
            found = self._judged(rounds, stopped)
            write_json(self.folder / RESULT, found)
            return found

    def _check_budget(self) -> None:
        budget = self.options.images
        if budget is not None and budget < self.costs.setup + self.costs.round:
            raise InputError(
                f"--images {budget:,} does not suffice for one round: labellers, generators and "
                f"the cross-validation of the real rows see {self.costs.setup:,} images, each "
                f"round {self.costs.round:,} more. Give more, or lower the budgets in the settings."
            )

    def _design(self) -> dict[str, Any]:
        """All that decides what a loop finds, but for its budget and its rows."""
        plain = self.context.settings.model_dump(mode="json")
        return {
            "options": self.options.locked(),
            "settings": {name: plain[name] for name in _SECTIONS},
            "seed": self.seed,
        }

    def _lock(self) -> None:
        """Write the design, or make sure that the one that is there is the same."""
        inputs = {"real": self.real.sha256}
        self._check_design(inputs)
        if not (self.folder / _LOCK).exists():
            write_json(self.folder / _LOCK, {**self._design(), "inputs": inputs})

    def _check_design(self, inputs: Mapping[str, str]) -> None:
        path = self.folder / _LOCK
        if not path.exists():
            return
        stored, own = read_json(path), self._design()
        changed = [
            name for name, value in own["settings"].items() if stored["settings"][name] != value
        ]
        changed += [
            f"--{name}"
            for name, value in own["options"].items()
            if stored["options"].get(name) != value
        ]
        changed += ["project.seed"] * (stored["seed"] != own["seed"])
        changed += [f"{name} rows" for name in inputs if stored["inputs"][name] != inputs[name]]
        if changed:
            raise InputError(
                f"{self.folder} holds a loop of another design (it differs in "
                f"{', '.join(changed)}). Give another --out, or delete that folder; --rounds and "
                "--images alone may be raised."
            )

    def _rounds(self) -> tuple[list[dict[str, Any]], str]:
        """Every round's record, the real rows alone first, and why the loop ended."""
        matrices = self._validated(0, {})
        rounds = [self._record_real(matrices)]
        parties: list[_Party] | None = None
        added: dict[str, TrainRows] = {}
        for number in range(1, self.options.rounds + 1):
            spent = rounds[-1]["images_total"]
            budget = self.options.images
            if budget is not None and spent + self.costs.round > budget:
                return rounds, "images"
            weak = weak_classes(
                class_figures(matrices, self.context.classes.names, self.seed), self.options.weak
            )
            demands = share_out(weak, self.options.samples)
            if not demands:
                return rounds, "no weak class"
            self._tell_demands(number, demands)
            parties = parties or self._parties()
            made = self._make(number, demands, parties)
            whole = made["whole"]
            for fold in self.folds:
                own = self._fold_rows(fold, made, parties)
                if own is not None:
                    added[fold.name] = added[fold.name] + own if fold.name in added else own
            after = self._validated(number, added) if whole.kept else matrices
            record = self._record(number, demands, weak, whole, after, matrices, spent)
            write_json(self._round_folder(number) / _ROUND, record)
            rounds.append(record)
            self._tell_round(record)
            if not whole.kept:
                return rounds, "nothing accepted"
            if not record["adopted"]:
                return rounds, "no gain"
            matrices = after
        return rounds, "rounds"

    def _parties(self) -> list[_Party]:
        """The whole and, unless its models are shared, one party per fold."""
        found = [_Party(self.whole, whole_chain(self.pipeline, self.whole), None)]
        if self.options.shared:
            return found
        for fold in self.folds:
            scope = fold_scope(self.real, fold, self.folder, self.context.cache)
            found.append(_Party(scope, fold_chain(self.context, scope), fold))
        return found

    def _make(
        self, number: int, demands: Sequence[Demand], parties: Sequence[_Party]
    ) -> dict[str, Accepted]:
        settings, classes = self.context.settings, self.context.classes
        curate = with_quotas(settings.curate, demands, classes, self.options.samples)
        made = {}
        for party in parties:
            painters = {n: g for n, g in party.chain.generators.items() if not g.is_layout}
            seed = derive_seed(self.seed, "round", number, party.scope.name)
            orders = plan_round(
                {name: generator.makes for name, generator in painters.items()},
                len(painters) < len(party.chain.generators),
                party.scope.train,
                settings.generate,
                demands,
                classes,
                number=number,
                share=self.options.share,
                seed=seed,
            )
            made[party.scope.name] = make_round(
                self.context,
                party.scope,
                party.chain,
                orders,
                curate,
                self._round_folder(number) / party.scope.name,
                seed,
            )
        return made

    def _fold_rows(
        self, fold: Fold, made: Mapping[str, Accepted], parties: Sequence[_Party]
    ) -> TrainRows | None:
        """Accepted rows that a network judged on the fold may see; None where there are none."""
        own = made.get(fold.name)
        real = next((p.scope.real for p in parties if p.fold is fold), self.real)
        if own is None:
            whole = made["whole"]
            own = Accepted(
                whole.samples, tuple(outside(whole.kept, whole.samples, self.real, fold))
            )
        if not own.kept:
            return None
        # Parents that are no train rows of the scope are refused here.
        return train_rows(own.samples, real=real, only=own.kept)

    def _validated(self, number: int, added: Mapping[str, TrainRows]) -> Int64Array:
        settings = self.context.settings
        architecture = settings.benchmark.architectures[0]
        return cross_validate(
            self.folds,
            added,
            self.whole.val,
            Recipe(
                architecture,
                settings.options("segmenters", architecture),
                settings.benchmark.preset,
                len(self.context.classes),
                validation_training(settings, len(self.whole.train)),
            ),
            self._round_folder(number) / "cells",
            seeds=self.options.seeds,
            seed=derive_seed(self.seed, "cross-validation"),
            fabric=self.context.fabric,
            devices=settings.project.devices,
            description=f"round {number}" if number else "real rows alone",
        )

    def _record_real(self, matrices: Int64Array) -> dict[str, Any]:
        record = {
            "round": 0,
            "cv": self._figures(matrices),
            "images": self.costs.setup,
            "images_total": self.costs.setup,
        }
        write_json(self._round_folder(0) / _ROUND, record)
        return record

    def _record(
        self,
        number: int,
        demands: Sequence[Demand],
        weak: Sequence[Any],
        whole: Accepted,
        after: Int64Array,
        before: Int64Array,
        spent: int,
    ) -> dict[str, Any]:
        made, kept = whole.by_label(), whole.by_label(whole.kept)
        asked = {demand.label: demand.samples for demand in demands}
        gained, smallest = gain(after, before, self.seed)
        trained = self.costs.round if whole.kept else 0
        return {
            "round": number,
            "weak": [
                {
                    **figure.to_json(),
                    "asked": asked.get(figure.label, 0),
                    "made": made.get(figure.label, 0),
                    "accepted": kept.get(figure.label, 0),
                }
                for figure in weak
            ],
            "made": whole.samples.num_rows,
            "accepted": len(whole.kept),
            "cv": self._figures(after),
            "gain": gained.to_json(),
            "minimum_detectable": round(smallest, 5),
            "adopted": bool(gained.low > 0),
            "images": trained,
            "images_total": spent + trained,
        }

    def _figures(self, matrices: Int64Array) -> dict[str, Any]:
        names = self.context.classes.names
        return {
            "f1": macro_f1(matrices, self.seed).to_json(),
            "per_class": [f.to_json() for f in class_figures(matrices, names, self.seed)],
            "runs": len(matrices),
            "places": int(matrices.shape[1]),
        }

    def _judged(self, rounds: Sequence[Mapping[str, Any]], stopped: str) -> dict[str, Any]:
        """One look at test with what was adopted, or, where nothing was, with all accepted."""
        adopted = [r["round"] for r in rounds if r.get("adopted")]
        tested = adopted or [r["round"] for r in rounds if r.get("accepted")]
        look = self._look(tested) if tested else None
        return {
            "design": {
                **self.options.locked(),
                "rounds": self.options.rounds,
                "images": self.options.images,
                "train_rows": len(self.whole.train),
                "train_places": sum(len(fold.places) for fold in self.folds),
                "architecture": self.context.settings.benchmark.architectures[0],
                "images_per_cell": validation_training(
                    self.context.settings, len(self.whole.train)
                ).images,
            },
            "rounds": list(rounds),
            "stopped": stopped,
            "adopted": adopted,
            "tested": tested,
            "costs": self.costs.to_json(),
            "look": look,
        }

    def _look(self, tested: Sequence[int]) -> dict[str, Any]:
        context, settings = self.context, self.context.settings
        pools = [self._round_folder(number) / "whole" for number in tested]
        union = _union([Table.open(pool / "label" / "samples") for pool in pools], self.folder)
        kept: set[str] = set()
        for pool in pools:
            rows = Table.open(pool / "curate" / "verdicts").read(["id", "keep"]).to_pylist()
            kept |= {row["id"] for row in rows if row["keep"]}
        benchmark = look_settings(settings)
        # Cells belong to what was accepted: other rounds are another recipe, and another look.
        folder = self.folder / f"look-{sha256_of_value(sorted(kept))[:12]}"
        results = run_benchmark(
            Inputs(self.real, union, frozenset(kept), context.cache),
            folder,
            classes=context.classes,
            settings=benchmark,
            options={
                name: settings.options("segmenters", name) for name in benchmark.architectures
            },
            ledger=context.project.folder / LEDGER_NAME,
            controls=context.project.folder / FOLDER_NAME,
            seed=derive_seed(self.seed, "look"),
            fabric=context.fabric,
            devices=settings.project.devices,
        )
        return {
            "folder": folder.name,
            "recipe_sha256": results["recipe_sha256"],
            "rows": results["rows"],
            "table": [
                {key: row[key] for key in ("architecture", "arm", "f1", "iou", "f1_per_class")}
                for row in results["table"]
            ],
            "verdicts": results["verdicts"],
            "sentence": results["sentence"],
            "ledger": looks_at_test(context.project.folder / LEDGER_NAME)["recipes"],
        }

    def _round_folder(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}"

    def _tell_demands(self, number: int, demands: Sequence[Demand]) -> None:
        told = ", ".join(f"{demand.samples} of {demand.name}" for demand in demands)
        console.print(f"[bold]round {number}[/]: asks for {told}", soft_wrap=True)

    def _tell_round(self, record: Mapping[str, Any]) -> None:
        told = record["gain"]
        console.print(
            f"  {record['accepted']} of {record['made']} accepted; macro F1 within train "
            f"{100 * told['mean']:+.1f} points [{100 * told['low']:+.1f}, "
            f"{100 * told['high']:+.1f}]: {'kept' if record['adopted'] else 'no gain, the end'}",
            soft_wrap=True,
            markup=False,
        )


def _union(tables: Sequence[Table], folder: Path) -> Table:
    """Samples of several rounds as one table, shard after shard; ids begin with the round."""
    paths = [path for table in tables for path in table.paths]
    sums = [table.sha256 for table in tables]
    ends = np.cumsum([pq.read_metadata(path).num_rows for path in paths]).tolist()
    starts = [0, *ends[:-1]]
    shards = [Shard(i, a, b) for i, (a, b) in enumerate(zip(starts, ends, strict=True))]
    return write_table(
        folder / f"pool-{sha256_of_value(sums)[:12]}",
        shards,
        lambda shard: pq.read_table(paths[shard.index]),
        settings_sha256=sha256_of_value(sums),
        inputs={f"round {i}": digest for i, digest in enumerate(sums)},
        description="joining the rounds",
        unit="samples",
    )


def run_demand(pipeline: Pipeline, options: DemandOptions) -> dict[str, Any]:
    """Run a demand-driven loop in a pipeline's project; see `DemandLoop.run`."""
    return DemandLoop(pipeline, options).run()
