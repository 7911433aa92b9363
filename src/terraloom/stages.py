"""The stages: what each is called, reads, is decided by, and does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from terraloom import families
from terraloom.classes import ClassTable
from terraloom.errors import InputError
from terraloom.files import read_json, sha256_of, sha256_of_value, write_json
from terraloom.progress import console
from terraloom.runs import Project, StageFolder, library_versions
from terraloom.seeds import derive_seed
from terraloom.settings import Settings, member_settings
from terraloom.tables import Table

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from terraloom.captioners._face import Captioner
    from terraloom.dataset.cache import RowCache
    from terraloom.ensemble import Ensemble
    from terraloom.sources._face import Source

CAPTION_BENCHMARK: Final = "benchmark-captions"
SETTINGS_COPY: Final = "settings.json"
"""The validated settings of the last run, in the project folder."""


class Context:
    """What a stage works with: settings, project folder, and the device when it needs one."""

    def __init__(self, settings: Settings, folder: Path, inputs: Path | None = None) -> None:
        self.settings = settings
        self.project = Project(folder)
        self.inputs = folder / "inputs" if inputs is None else inputs
        """Where sources bring what they fetch; projects of one source may share it."""
        self.seed = settings.project.seed
        given = settings.project.data_seed
        self.data_seed = self.seed if given is None else given
        self.classes: ClassTable = settings.classes.class_table()

    @cached_property
    def fabric(self) -> "Fabric":
        """The device; importing torch waits until a stage needs it."""
        from terraloom.learning.device import make_fabric

        return make_fabric(self.settings.project.threads)

    @property
    def cache(self) -> "RowCache":
        """How rows for learning are held."""
        from terraloom.dataset.cache import RowCache

        project = self.settings.project
        return RowCache(self.project.folder / "cache", project.cache, project.cache_gb)

    @cached_property
    def source(self) -> "Source":
        """The source in use."""
        name = self.settings.source_name
        module = families.member("sources", name)
        source: Source = module.build(
            member_settings(self.settings, "sources", name),
            self.classes,
            derive_seed(self.data_seed, "source"),
        )
        return source

    @cached_property
    def captioner(self) -> "Captioner":
        """The captioner in use; what models answer is kept beside the stages."""
        from terraloom.captioners._face import ModelCaptioner

        captioner = self.built_captioner(self.settings.caption.captioner)
        if isinstance(captioner, ModelCaptioner):
            captioner.keep_in(self.project.folder / "answers")
        return captioner

    def built_captioner(self, name: str) -> "Captioner":
        """A captioner with its options."""
        captioner: Captioner = families.member("captioners", name).build(
            member_settings(self.settings, "captioners", name),
            self.classes,
            derive_seed(self.seed, "captions"),
        )
        return captioner

    @property
    def acquired(self) -> Path:
        """Where the source brings its inputs.

        It lies beside the stages, so that another patch size or split never fetches them again;
        another source, area or year has a folder of its own.
        """
        name = self.settings.source_name
        options = member_settings(self.settings, "sources", name).model_dump(mode="json")
        seed = derive_seed(self.data_seed, "source")
        digest = sha256_of_value({"options": options, "seed": seed})
        return self.inputs / f"{name}-{digest[:12]}"

    def path(self, stage: str, *parts: str) -> Path:
        """A path in a stage's folder."""
        return self.project.folder.joinpath(stage, *parts)

    def table(self, stage: str, *parts: str) -> Table:
        """A finished table of a stage."""
        return Table.open(self.path(stage, *parts))


@dataclass(frozen=True)
class Stage:
    """One stage of the context."""

    name: str
    does: str
    needs: tuple[str, ...]
    """Stages whose outputs it reads."""
    sections: tuple[str, ...]
    """Tables of the settings that decide its output."""
    run: Callable[[Context, StageFolder], dict[str, str]]
    """Does the work; returns a checksum per output that later stages read."""
    beside: tuple[str, ...] = ()
    """Files that other commands leave in the project and that it reads where they are there."""

    def settings_of(self, context: Context) -> dict[str, Any]:
        """The settings that decide the stage's output, validated options of members included."""
        settings = context.settings
        chosen: dict[str, Any] = {"seed": context.seed}
        if not self.needs and context.data_seed != context.seed:
            chosen["data_seed"] = context.data_seed
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


def stages_needed(name: str) -> list[str]:
    """Names of the stages that one reads from, directly or through others, in order."""
    needed: set[str] = set()
    for stage in reversed(STAGES):
        if stage.name == name or stage.name in needed:
            needed.update(stage.needs)
    return [stage.name for stage in STAGES if stage.name in needed]


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


def _build(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.dataset.build import build_dataset
    from terraloom.engines import local_engine

    with local_engine(context.settings.project.workers) as engine:
        made = build_dataset(
            context.source,
            context.classes,
            folder.path,
            cut=context.settings.cut,
            split=context.settings.split,
            seed=derive_seed(context.seed, "split"),
            acquired=context.acquired,
            engine=engine,
        )
    rows = dict(made.leaks.rows)
    behind = made.held_back.num_rows if made.held_back is not None else 0
    rows["train"] -= behind
    console.print(
        f"  {made.samples.num_rows} of {made.candidates} patches: {rows['train']} train, "
        f"{rows['val']} val, {rows['test']} test; "
        + ", ".join(f"{count} {reason}" for reason, count in made.funnel.items()),
        soft_wrap=True,
    )
    outputs = {"samples": made.samples.sha256}
    if made.held_back is not None:
        outputs["held-back"] = made.held_back.sha256
    return outputs


def _segment(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.calibration import calibrate, told
    from terraloom.dataset.rows import train_rows, val_rows
    from terraloom.floors import FLOORS, measure_floors, unbeaten
    from terraloom.label_noise import estimate_label_noise
    from terraloom.segmenting import CALIBRATION, Recipe, train_segmenter

    settings = context.settings
    real = context.table("build", "samples")
    train, val = train_rows(real, cache=context.cache), val_rows(real, cache=context.cache)
    floors = measure_floors(
        train,
        ([row] for row in val.rows),
        context.classes.names,
        folder.path / FLOORS,
        role="val",
        seed=derive_seed(context.seed, "floors"),
    )
    recipe = Recipe(
        settings.segment.architecture,
        settings.options("segmenters", settings.segment.architecture),
        settings.segment.preset,
        len(context.classes),
        settings.segment.training,
    )
    outputs = {}
    members = [
        train_segmenter(
            train,
            val,
            recipe,
            folder.path / name,
            seed=derive_seed(context.seed, name),
            fabric=context.fabric,
            description=f"training the {name}",
            devices=settings.project.devices,
        )
        for name in labeller_names(settings)
    ]
    for name, member in zip(labeller_names(settings), members, strict=True):
        found = calibrate(member, val, folder.path / name, derive_seed(context.seed, "calibration"))
        console.print(f"  {name}: {told(found)}", soft_wrap=True)
        outputs[name] = sha256_of(folder.path / name / "weights.safetensors")
        outputs[f"{name}/calibration"] = sha256_of(folder.path / name / CALIBRATION)
    if settings.segment.noise_folds:
        noise = estimate_label_noise(
            real,
            val,
            recipe,
            folder.path / "noise",
            folds=settings.segment.noise_folds,
            seed=context.seed,
            fabric=context.fabric,
            devices=settings.project.devices,
            cache=context.cache,
        )
        wrong = noise["wrong_of_all"]
        console.print(
            f"  label noise on train places held back: {100 * wrong['mean']:.1f} % of pixels "
            f"[{100 * wrong['low']:.1f}, {100 * wrong['high']:.1f}], {noise['places']} places",
            soft_wrap=True,
            markup=False,
        )
    best = float(members[0].summary["best_val_f1"])
    beaten = ", ".join(f"{name} {100 * e['f1']:.1f} %" for name, e in floors["floors"].items())
    console.print(f"  best macro F1 on val: {100 * best:.1f} %; floors: {beaten}")
    for name in unbeaten(floors, best):
        console.print(
            f"[yellow]  the labeller does not beat the floor {name}[/]: train it for longer, or "
            "look at the labels",
            soft_wrap=True,
        )
    # The floors are no output: nothing but the page reads them, and they follow from the rows.
    return outputs


def labeller_names(settings: Settings) -> list[str]:
    """Folders of the labellers in the stage segment, the first of which measures too."""
    return ["labeller", *(f"labeller-{i}" for i in range(2, settings.segment.members + 1))]


def _generate(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.dataset.rows import train_rows, val_rows
    from terraloom.generating import synthesize, train_generator
    from terraloom.segmenting import load_segmenter

    settings = context.settings
    real = context.table("build", "samples")
    train, val = train_rows(real, cache=context.cache), val_rows(real, cache=context.cache)
    labeller = load_segmenter(context.path("segment", "labeller"), context.fabric)
    trained = {
        name: train_generator(
            name,
            settings.options("generators", name),
            train,
            val,
            folder.path / "models" / name,
            classes=context.classes,
            size=settings.generate.size,
            labeller=labeller,
            seed=derive_seed(context.seed, "generator", name),
            fabric=context.fabric,
        )
        for name in sorted(settings.generators)
    }
    samples = synthesize(
        trained,
        train,
        folder.path / "samples",
        classes=context.classes,
        settings=settings.generate,
        seed=derive_seed(context.seed, "samples"),
    )
    return {"samples": samples.sha256}


def _labeller(context: Context, folder: Path) -> tuple["Ensemble", str]:
    """The labellers as they look together, and the checksum of their weights and temperatures.

    Several looks keep the temperature of their mean in `folder`.
    """
    from terraloom.calibration import calibrate_together
    from terraloom.dataset.rows import val_rows
    from terraloom.ensemble import Ensemble
    from terraloom.segmenting import CALIBRATION, load_segmenter

    settings = context.settings
    paths = [context.path("segment", name) for name in labeller_names(settings)]
    members = tuple(load_segmenter(path, context.fabric) for path in paths)
    labeller = Ensemble(members, settings.label.flips)
    files = [path / name for path in paths for name in ("weights.safetensors", CALIBRATION)]
    if labeller.looks > 1:
        val = val_rows(context.table("build", "samples"), cache=context.cache)
        seed = derive_seed(context.seed, "calibration")
        labeller = calibrate_together(labeller, val, folder, seed)
        files = [*(path / "weights.safetensors" for path in paths), folder / CALIBRATION]
    return labeller, sha256_of_value([sha256_of(path) for path in files if path.exists()])


def _label(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.calibration import told
    from terraloom.dataset.rows import val_rows
    from terraloom.labelling import label_samples, measure_yardstick
    from terraloom.segmenting import CALIBRATION

    labeller, labeller_sha256 = _labeller(context, folder.path)
    if labeller.looks > 1:
        found = told(read_json(folder.path / CALIBRATION))
        console.print(f"  {labeller.looks} looks together: {found}", soft_wrap=True)
    samples, labels = label_samples(
        context.table("generate", "samples"),
        labeller,
        folder.path,
        classes=context.classes,
        settings=context.settings.label,
        labeller_sha256=labeller_sha256,
    )
    yardstick = measure_yardstick(
        val_rows(context.table("build", "samples"), cache=context.cache),
        labeller,
        context.settings.generate.size,
        settings=context.settings.label,
        seed=derive_seed(context.seed, "labels"),
    ).save(folder.path)
    return {
        "samples": samples.sha256,
        "labels": labels.sha256,
        "yardstick": sha256_of(yardstick),
    }


def _caption(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.captioners._face import ModelCaptioner
    from terraloom.captioning import REPAIRS, caption_samples
    from terraloom.repairing import Care, claims_check, summarise_repairs

    settings = context.settings.caption
    captioner = context.captioner
    asks = isinstance(captioner, ModelCaptioner)
    care = None
    if asks:
        care = Care(
            claims_check(context.classes),
            settings.repair_rounds,
            context.built_captioner("template"),
            settings.contradicted,
            settings.failed,
        )
    options = member_settings(context.settings, "captioners", settings.captioner)
    digest = sha256_of_value(
        {
            settings.captioner: options.model_dump(mode="json"),
            **(settings.model_dump(mode="json") if asks else {}),
        }
    )
    outputs, repairs = {}, {}
    for kind, samples in _samples_by_kind(context).items():
        table = caption_samples(
            samples,
            captioner,
            folder.path / kind,
            settings_sha256=digest,
            description=f"captioning {kind} samples",
            care=care,
        )
        outputs[kind] = table.sha256
        if asks:
            found = summarise_repairs(Table.open(folder.path / REPAIRS / kind).batches())
            repairs[kind] = found
            _tell_repairs(kind, found)
    if asks:
        write_json(folder.path / "repairs.json", repairs)
    return outputs


def _tell_repairs(kind: str, found: Mapping[str, Any]) -> None:
    """One line on what came of a model's captions, and one where some could not be had."""

    def percent(name: str) -> str:
        rate = found[f"{name}_rate"]
        return "not checked" if rate is None else f"{100 * rate:.2f} %"

    console.print(
        f"  {kind}: {found['asked']:,} captions asked for; contradicted before repair "
        f"{percent('contradicted_before')}, after it {percent('contradicted_after_repair')}, "
        f"replaced {percent('replaced')}",
        soft_wrap=True,
    )
    if found["failed"] or found["failed_rewrites"]:
        console.print(
            f"[yellow]  {found['failed']:,} captions could not be had, and "
            f"{found['failed_rewrites']:,} rewrites[/]: see caption/errors/{kind}; --retry-failed "
            "asks for them again",
            soft_wrap=True,
        )


def _score(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.scoring import score_samples
    from terraloom.segmenting import load_segmenter

    seed = derive_seed(context.seed, "scores")
    scorers = {
        name: families.member("scorers", name).build(
            member_settings(context.settings, "scorers", name), context.classes, seed
        )
        for name in context.settings.score.scorers
    }
    kinds = _samples_by_kind(context)
    score_samples(
        kinds["real"],
        kinds["synthetic"],
        context.table("label", "labels"),
        {kind: context.table("caption", kind) for kind in kinds},
        scorers,
        folder.path,
        classes=context.classes,
        segmenter=lambda: load_segmenter(context.path("segment", "labeller"), context.fabric),
        settings_sha256=sha256_of_value(list(scorers)),
        seed=seed,
    )
    return {
        "scores": Table.open(folder.path / "scores" / "synthetic").sha256,
        "summary": sha256_of(folder.path / "summary.json"),
    }


def _curate(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.cards import write_cards
    from terraloom.curation import curate_samples, funnel_told
    from terraloom.yardstick import Yardstick

    verdicts, funnel = curate_samples(
        context.table("label", "samples"),
        context.table("score", "scores", "synthetic"),
        folder.path,
        context.settings.curate,
        context.classes.names,
        Yardstick.load(context.path("label")),
    )
    # Older summaries, and those of no sample, name no table of neighbours.
    nearest = read_json(context.path("score", "summary.json")).get("nearest", {})
    nearest = nearest if "table" in nearest else None
    write_cards(
        context.table("label", "samples"),
        context.table("score", "scores", "synthetic"),
        verdicts,
        context.classes.names,
        folder.path / "cards",
        None if nearest is None else context.table("score", nearest["table"]),
    )
    for line in funnel_told(funnel):
        console.print(f"  {line}", soft_wrap=True)
    return {"verdicts": verdicts.sha256}


def _benchmark(context: Context, folder: StageFolder) -> dict[str, str]:
    from terraloom.benchmarking import Inputs, run_benchmark
    from terraloom.controls import FOLDER_NAME
    from terraloom.dataset.build import HELD_BACK
    from terraloom.dataset.rows import TrainRows
    from terraloom.floors import FLOORS, floors_on_test
    from terraloom.ledger import LEDGER_NAME
    from terraloom.relabelling import relabelled_rows
    from terraloom.tables import MANIFEST

    settings = context.settings
    verdicts = context.table("curate", "verdicts").read(["id", "keep"]).to_pylist()
    real = context.table("build", "samples")
    ledger = context.project.folder / LEDGER_NAME
    held_back = context.path("build", HELD_BACK)

    def relabel(train: TrainRows, count: int, seed: int) -> TrainRows:
        labeller, labeller_sha256 = _labeller(context, context.path("label"))
        return relabelled_rows(
            train,
            count,
            labeller=labeller,
            size=settings.generate.size,
            classes=context.classes,
            settings=settings.label,
            seed=seed,
            labeller_sha256=labeller_sha256,
            cache=context.cache,
        )

    results = run_benchmark(
        Inputs(
            real,
            context.table("label", "samples"),
            frozenset(row["id"] for row in verdicts if row["keep"]),
            context.cache,
            Table.open(held_back) if (held_back / MANIFEST).exists() else None,
            relabel,
        ),
        folder.path,
        classes=context.classes,
        settings=settings.benchmark,
        options={
            name: settings.options("segmenters", name) for name in settings.benchmark.architectures
        },
        ledger=ledger,
        controls=context.project.folder / FOLDER_NAME,
        seed=derive_seed(context.seed, "benchmark"),
        fabric=context.fabric,
        devices=settings.project.devices,
    )
    floors_on_test(
        real,
        context.classes.names,
        folder.path / FLOORS,
        ledger=ledger,
        recipe_sha256=results["recipe_sha256"],
        seed=derive_seed(context.seed, "floors"),
        cache=context.cache,
    )
    return {
        "results": sha256_of(folder.path / "results.json"),
        "floors": sha256_of(folder.path / FLOORS),
    }


def _benchmark_captions(context: Context, folder: StageFolder) -> dict[str, str]:
    settings = context.settings.caption_benchmark
    if not settings.is_on:
        console.print("  off: [caption_benchmark] names no arms", soft_wrap=True, markup=False)
        return {}
    from terraloom.caption_benchmarking import CONTROLS, CaptionInputs, run_caption_benchmark
    from terraloom.ledger import LEDGER_NAME

    verdicts = context.table("curate", "verdicts").read(["id", "keep"]).to_pylist()
    samples = _samples_by_kind(context)
    run_caption_benchmark(
        CaptionInputs(
            samples["real"],
            samples["synthetic"],
            frozenset(row["id"] for row in verdicts if row["keep"]),
            {kind: context.table("caption", kind) for kind in samples},
            context.cache,
        ),
        folder.path,
        classes=context.classes,
        settings=settings,
        ledger=context.project.folder / LEDGER_NAME,
        controls=context.project.folder / CONTROLS,
        seed=derive_seed(context.seed, "caption benchmark"),
        fabric=context.fabric,
    )
    return {"results": sha256_of(folder.path / "results.json")}


def _report(context: Context, folder: StageFolder) -> dict[str, str]:
    return {"report": sha256_of(report_of(context, context.project.folder))}


def report_of(context: Context, project: Path) -> Path:
    """Write the page of a project folder, from what lies there; returns its path."""
    from terraloom.learning.device import describe_device
    from terraloom.report.page import write_report

    return write_report(
        project,
        project / "report",
        title=context.settings.project.name,
        classes=context.classes,
        provenance={
            "settings_sha256": sha256_of(project / SETTINGS_COPY),
            "seed": context.seed,
            "device": describe_device(context.fabric),
            "versions": library_versions(),
        },
    )


def _samples_by_kind(context: Context) -> dict[str, Table]:
    return {
        "real": context.table("build", "samples"),
        "synthetic": context.table("label", "samples"),
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
    Stage(
        "label",
        "synthetic images get their masks",
        ("build", "segment", "generate"),
        ("label",),
        _label,
    ),
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
        CAPTION_BENCHMARK,
        "captioners are trained per arm and what they say of test is checked",
        ("build", "label", "caption", "curate"),
        ("caption_benchmark",),
        _benchmark_captions,
    ),
    Stage(
        "report",
        "one page is written",
        (
            "build",
            "segment",
            "generate",
            "label",
            "caption",
            "score",
            "curate",
            "benchmark",
            CAPTION_BENCHMARK,
        ),
        ("project",),
        _report,
        ("which-score/which-score.json", "demand/demand.json"),
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
