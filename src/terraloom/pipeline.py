"""The stages in order, from a settings file to a report: each calls its face and keeps a record."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from terraloom import families
from terraloom.classes import ClassTable
from terraloom.errors import InputError, StageMissing
from terraloom.files import append_line, read_json, sha256_of, sha256_of_value, write_json
from terraloom.progress import console
from terraloom.runs import Project, StageFolder, library_versions, stage_key
from terraloom.seeds import derive_seed
from terraloom.settings import Settings, member_settings
from terraloom.tables import Table

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from terraloom.sources._face import Source

LOG_NAME: Final = "log.jsonl"
SETTINGS_COPY: Final = "settings.json"


class Pipeline:
    """One project with its settings; stages meet on disk only."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.project = Project(folder)
        self.seed = settings.project.seed
        self.classes: ClassTable = settings.classes.class_table()

    @cached_property
    def fabric(self) -> "Fabric":
        """The device; importing torch waits until a stage needs it."""
        from terraloom.learning.device import make_fabric

        return make_fabric(self.settings.project.threads)

    @cached_property
    def source(self) -> "Source":
        """The source in use."""
        name = self.settings.source_name
        module = families.member("sources", name)
        source: Source = module.build(
            member_settings(self.settings, "sources", name),
            self.classes,
            derive_seed(self.seed, "source"),
        )
        return source

    def path(self, stage: str, *parts: str) -> Path:
        """A path in a stage's folder."""
        return self.project.folder.joinpath(stage, *parts)

    def table(self, stage: str, *parts: str) -> Table:
        """A finished table of a stage."""
        return Table.open(self.path(stage, *parts))

    def run(self, until: str | None = None, only: str | None = None) -> None:
        """Run every stage that is not done, in order.

        Args:
            until: last stage to run; left out, all.
            only: run this stage alone; those before it must be done.

        Raises:
            StageMissing: `only` was asked for, and an earlier stage is not done.
        """
        self.source.given()  # wrong inputs are told before anything is written
        with self.project.locked():
            write_json(self.project.folder / SETTINGS_COPY, self.settings.model_dump(mode="json"))
            for stage in STAGES:
                if only is not None and stage.name != only:
                    if stage.name in stages_before(only):
                        self._check_done(stage)
                    continue
                self._run_stage(stage)
                if stage.name in (until, only):
                    break

    def is_done(self, stage: "Stage") -> bool:
        """Whether the stage's record matches settings and inputs as they are now."""
        try:
            key, _, _ = self._key(stage)
        except StageMissing:
            return False
        return self.project.stage(stage.name).is_done(key)

    def _check_done(self, stage: "Stage") -> None:
        if not self.is_done(stage):
            raise StageMissing(
                f"stage {stage.name} is not done with these settings; "
                f"run: terraloom run --until {stage.name}"
            )

    def _key(self, stage: "Stage") -> tuple[str, dict[str, Any], dict[str, str]]:
        settings = stage.settings_of(self)
        inputs = {} if stage.needs else dict(self.source.given())
        for name in stage.needs:
            record = self.project.stage(name).record()
            if record is None:
                raise StageMissing(f"stage {stage.name} needs stage {name}, which is not done.")
            inputs |= {f"{name}/{key}": value for key, value in record["outputs"].items()}
        return stage_key(stage.name, settings, inputs), settings, inputs

    def _run_stage(self, stage: "Stage") -> None:
        folder = self.project.stage(stage.name)
        key, settings, inputs = self._key(stage)
        if folder.is_done(key):
            console.print(f"[green]✓[/] {stage.name}: done before", soft_wrap=True)
            return
        resumed = folder.is_started(key)
        changes = folder.begin(key, settings, inputs)
        if changes:
            shown = "; ".join(changes[:4])
            console.print(f"{stage.name}: made anew, since {shown}", soft_wrap=True)
        console.print(
            f"[bold]{stage.name}[/]: {stage.does}{' (goes on)' if resumed else ''}", soft_wrap=True
        )
        start = time.monotonic()
        try:
            outputs = stage.run(self, folder)
        except InputError:
            folder.discard()
            raise
        folder.finish(key, settings, inputs, outputs)
        append_line(
            self.project.folder / LOG_NAME,
            {
                "stage": stage.name,
                "seconds": round(time.monotonic() - start, 2),
                "resumed": resumed,
            },
        )


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline."""

    name: str
    does: str
    needs: tuple[str, ...]
    """Stages whose outputs it reads."""
    sections: tuple[str, ...]
    """Tables of the settings that decide its output."""
    run: Callable[[Pipeline, StageFolder], dict[str, str]]
    """Does the work; returns a checksum per output that later stages read."""

    def settings_of(self, pipeline: Pipeline) -> dict[str, Any]:
        """The settings that decide the stage's output, validated options of members included."""
        settings = pipeline.settings
        chosen: dict[str, Any] = {"seed": pipeline.seed}
        for section in self.sections:
            value = getattr(settings, section)
            chosen[section] = (
                value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            )
        for family, names in _members_of(self.name, settings).items():
            chosen[family] = {
                name: member_settings(settings, family, name).model_dump(mode="json")
                for name in names
            }
        return chosen


def stages_before(name: str) -> list[str]:
    """Names of the stages that come before one."""
    names = [stage.name for stage in STAGES]
    return names[: names.index(name)]


def _members_of(stage: str, settings: Settings) -> Mapping[str, Sequence[str]]:
    """The members of families that a stage uses."""
    return {
        "build": {"sources": [settings.source_name]},
        "segment": {"segmenters": [settings.segment.architecture]},
        "generate": {"generators": sorted(settings.generators)},
        "caption": {"captioners": [settings.caption.captioner]},
        "score": {"scorers": list(settings.score.scorers)},
        "benchmark": {"segmenters": list(settings.benchmark.architectures)},
    }.get(stage, {})


def _build(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.dataset.build import build_dataset

    made = build_dataset(
        pipeline.source,
        pipeline.classes,
        folder.path,
        cut=pipeline.settings.cut,
        split=pipeline.settings.split,
        seed=derive_seed(pipeline.seed, "split"),
    )
    rows = made.leaks.rows
    console.print(
        f"  {made.samples.num_rows} of {made.candidates} patches: {rows['train']} train, "
        f"{rows['val']} val, {rows['test']} test; "
        + ", ".join(f"{count} {reason}" for reason, count in made.funnel.items()),
        soft_wrap=True,
    )
    return {"samples": made.samples.sha256}


def _segment(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.dataset.rows import train_rows, val_rows
    from terraloom.segmenting import Recipe, train_segmenter

    settings = pipeline.settings
    real = pipeline.table("build", "samples")
    trained = train_segmenter(
        train_rows(real),
        val_rows(real),
        Recipe(
            settings.segment.architecture,
            settings.options("segmenters", settings.segment.architecture),
            settings.segment.preset,
            len(pipeline.classes),
            settings.segment.training,
        ),
        folder.path / "labeller",
        seed=derive_seed(pipeline.seed, "labeller"),
        fabric=pipeline.fabric,
        description="training the labeller",
    )
    console.print(f"  best macro F1 on val: {100 * trained.summary['best_val_f1']:.1f} %")
    return {"labeller": sha256_of(folder.path / "labeller" / "weights.safetensors")}


def _generate(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.dataset.rows import train_rows, val_rows
    from terraloom.generating import synthesize, train_generator
    from terraloom.segmenting import load_segmenter

    settings = pipeline.settings
    real = pipeline.table("build", "samples")
    train, val = train_rows(real), val_rows(real)
    labeller = load_segmenter(pipeline.path("segment", "labeller"), pipeline.fabric)
    trained = {
        name: train_generator(
            name,
            settings.options("generators", name),
            train,
            val,
            folder.path / "models" / name,
            classes=pipeline.classes,
            size=settings.generate.size,
            labeller=labeller,
            seed=derive_seed(pipeline.seed, "generator", name),
            fabric=pipeline.fabric,
        )
        for name in sorted(settings.generators)
    }
    samples = synthesize(
        trained,
        train,
        folder.path / "samples",
        classes=pipeline.classes,
        settings=settings.generate,
        seed=derive_seed(pipeline.seed, "samples"),
    )
    return {"samples": samples.sha256}


def _label(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.labelling import label_samples
    from terraloom.segmenting import load_segmenter

    labeller = pipeline.path("segment", "labeller")
    samples, labels = label_samples(
        pipeline.table("generate", "samples"),
        load_segmenter(labeller, pipeline.fabric),
        folder.path,
        classes=pipeline.classes,
        settings=pipeline.settings.label,
        labeller_sha256=sha256_of(labeller / "weights.safetensors"),
    )
    return {"samples": samples.sha256, "labels": labels.sha256}


def _caption(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.captioning import caption_samples

    name = pipeline.settings.caption.captioner
    options = member_settings(pipeline.settings, "captioners", name)
    captioner = families.member("captioners", name).build(
        options, pipeline.classes, derive_seed(pipeline.seed, "captions")
    )
    digest = sha256_of_value({name: options.model_dump(mode="json")})
    outputs = {}
    for kind, samples in _samples_by_kind(pipeline).items():
        table = caption_samples(
            samples,
            captioner,
            folder.path / kind,
            settings_sha256=digest,
            description=f"captioning {kind} samples",
        )
        outputs[kind] = table.sha256
    return outputs


def _score(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.scoring import score_samples
    from terraloom.segmenting import load_segmenter

    seed = derive_seed(pipeline.seed, "scores")
    scorers = {
        name: families.member("scorers", name).build(
            member_settings(pipeline.settings, "scorers", name), pipeline.classes, seed
        )
        for name in pipeline.settings.score.scorers
    }
    kinds = _samples_by_kind(pipeline)
    score_samples(
        kinds["real"],
        kinds["synthetic"],
        pipeline.table("label", "labels"),
        {kind: pipeline.table("caption", kind) for kind in kinds},
        scorers,
        folder.path,
        classes=pipeline.classes,
        segmenter=lambda: load_segmenter(pipeline.path("segment", "labeller"), pipeline.fabric),
        settings_sha256=sha256_of_value(list(scorers)),
        seed=seed,
    )
    return {
        "scores": Table.open(folder.path / "scores" / "synthetic").sha256,
        "summary": sha256_of(folder.path / "summary.json"),
    }


def _curate(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.curation import curate_samples

    verdicts, funnel = curate_samples(
        pipeline.table("label", "samples"),
        pipeline.table("score", "scores", "synthetic"),
        folder.path,
        pipeline.settings.curate,
    )
    for origin, entry in funnel.items():
        console.print(f"  {origin}: {entry['kept']} of {entry['made']} kept")
    return {"verdicts": verdicts.sha256}


def _benchmark(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.benchmarking import Inputs, run_benchmark
    from terraloom.ledger import LEDGER_NAME

    settings = pipeline.settings
    verdicts = pipeline.table("curate", "verdicts").read(["id", "keep"]).to_pylist()
    run_benchmark(
        Inputs(
            pipeline.table("build", "samples"),
            pipeline.table("label", "samples"),
            frozenset(row["id"] for row in verdicts if row["keep"]),
        ),
        folder.path,
        classes=pipeline.classes,
        settings=settings.benchmark,
        options={
            name: settings.options("segmenters", name) for name in settings.benchmark.architectures
        },
        ledger=pipeline.project.folder / LEDGER_NAME,
        seed=derive_seed(pipeline.seed, "benchmark"),
        fabric=pipeline.fabric,
    )
    return {"results": sha256_of(folder.path / "results.json")}


def _report(pipeline: Pipeline, folder: StageFolder) -> dict[str, str]:
    from terraloom.learning.device import describe_device
    from terraloom.report.page import write_report

    path = write_report(
        pipeline.project.folder,
        folder.path,
        title=pipeline.settings.project.name,
        classes=pipeline.classes,
        provenance={
            "settings_sha256": sha256_of(pipeline.project.folder / SETTINGS_COPY),
            "seed": pipeline.seed,
            "device": describe_device(pipeline.fabric),
            "versions": library_versions(),
        },
    )
    return {"report": sha256_of(path)}


def _samples_by_kind(pipeline: Pipeline) -> dict[str, Table]:
    return {
        "real": pipeline.table("build", "samples"),
        "synthetic": pipeline.table("label", "samples"),
    }


STAGES: Final = (
    Stage(
        "build",
        "pairs are found, cut, split and tested for leaks",
        (),
        ("classes", "cut", "split"),
        _build,
    ),
    Stage(
        "segment", "a segmenter is trained on real train rows", ("build",), ("segment",), _segment
    ),
    Stage(
        "generate",
        "generators are trained on real train rows and make samples",
        ("build", "segment"),
        ("generate",),
        _generate,
    ),
    Stage("label", "synthetic images get their masks", ("segment", "generate"), ("label",), _label),
    Stage("caption", "every sample gets its captions", ("build", "label"), ("caption",), _caption),
    Stage(
        "score",
        "samples, captions and corpus are measured",
        ("build", "segment", "label", "caption"),
        ("score",),
        _score,
    ),
    Stage(
        "curate",
        "synthetic samples are kept or rejected, with the reason",
        ("label", "score"),
        ("curate",),
        _curate,
    ),
    Stage(
        "benchmark",
        "arms are trained at equal budgets and tested on real rows",
        ("build", "label", "curate"),
        ("benchmark",),
        _benchmark,
    ),
    Stage(
        "report",
        "one page is written",
        ("build", "segment", "generate", "label", "caption", "score", "curate", "benchmark"),
        ("project",),
        _report,
    ),
)
"""In order; each reads from those that it names only."""


def stage_named(name: str) -> Stage:
    """One stage by name.

    Raises:
        InputError: there is no such stage; lists those there are.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise InputError(f"there is no stage {name!r}; there are: {', '.join(s.name for s in STAGES)}.")


def stage_seconds(project: Project) -> dict[str, float]:
    """Seconds that each stage took when it last ran in one go, from the project's log."""
    from terraloom.files import read_lines

    return {
        row["stage"]: float(row["seconds"])
        for row in read_lines(project.folder / LOG_NAME)
        if not row["resumed"]
    }


def read_results(folder: Path) -> dict[str, Any]:
    """The benchmark's results of a project.

    Raises:
        StageMissing: the benchmark has not finished.
    """
    path = folder / "benchmark" / "results.json"
    if not path.exists():
        raise StageMissing(f"{folder} holds no benchmark results; run: terraloom run")
    results: dict[str, Any] = read_json(path)
    return results
