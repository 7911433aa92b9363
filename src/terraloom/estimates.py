"""What a run would do and about how long it would take, before anything is done.

Times rest on rates measured on two CPU cores (each member's TRAINING_RATE and SAMPLING_RATE); what
the project's own log says of an earlier run of the stage comes first.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from terraloom import families
from terraloom.dataset.patches import window_grid
from terraloom.files import read_json
from terraloom.pipeline import Pipeline, stage_errors, stage_seconds
from terraloom.settings import Settings, TrainingSettings, member_settings
from terraloom.settings.caption_benchmark import SMALL, TRAINING_RATE
from terraloom.sources._face import DownloadPlan, PlanningSource
from terraloom.stages import CAPTION_BENCHMARK, STAGES, stage_named
from terraloom.tables import MANIFEST, Table

_REFERENCE_SIDE: Final = 64
_CUT_RATE: Final = 150.0
_LABEL_RATE: Final = 250.0
_TSNE_RATE: Final = 100.0
_UMAP_COMPILE_S: Final = 50.0
_BENCHMARK_FIXED_S: Final = 10.0
PATCH_BYTES_PER_PIXEL: Final = {8: 2.1, 16: 5.0}
"""Of a stored patch by depth. Sentinel-2 images of 8 bits were measured: 1.7 as PNG, their masks
0.15; 16 bits are assumed to pack to 1.5 per band."""
_NIR_BYTES_PER_PIXEL: Final = 1.5


@dataclass(frozen=True)
class StageEstimate:
    """One line of a dry run."""

    stage: str
    state: str
    """done, goes on, failed, or would run."""
    rows: int
    """Samples that the stage works on; an upper bound before the filters have run."""
    work: str
    seconds: float | None
    """None where there is no rate for a member."""

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class BuildEstimate:
    """What building would bring and write, before it is done."""

    candidates: int
    """Patches at most, before the filters."""
    patch_size: int
    """Side in pixels."""
    patch_bytes: int
    """Disk that they take if all are kept; as much again while they are being cut."""
    download: DownloadPlan | None
    """None where the source fetches nothing, or cannot tell."""

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


def estimate_build(pipeline: Pipeline) -> BuildEstimate | None:
    """What building would bring and write, or None where it is done; writes nothing.

    Sources that fetch ask their server for headers; where it does not answer, the plan says so.
    """
    if pipeline.state(stage_named("build")) == "done":
        return None
    context = pipeline.context
    cut = context.settings.cut
    candidates = _candidates(pipeline)
    rate = PATCH_BYTES_PER_PIXEL[cut.depth] + (_NIR_BYTES_PER_PIXEL if cut.nir else 0.0)
    source = context.source
    plan = source.plan(context.acquired) if isinstance(source, PlanningSource) else None
    return BuildEstimate(
        candidates, cut.patch_size, round(candidates * cut.patch_size**2 * rate), plan
    )


def estimate_run(pipeline: Pipeline, until: str | None = None) -> list[StageEstimate]:
    """One estimate per stage, in order; reads headers, writes nothing."""
    settings = pipeline.context.settings
    train, real = _row_counts(pipeline)
    size = settings.generate.size
    made, sampling, training = 0, 0.0, 0.0
    for name in sorted(settings.generators):
        module = families.member("generators", name)
        options = member_settings(settings, "generators", name)
        scale = (size / _REFERENCE_SIDE) ** 2
        count = 0
        # What a member makes stands in its module too, so that nothing need be built to count.
        if getattr(module, "SAMPLES_MASKS", True):
            count += round(settings.generate.conditional_per_row * train)
            if "layout" in settings.generators:
                count += round(settings.generate.layout_per_row * train)
        if getattr(module, "SAMPLES_FREELY", False):
            count += round(settings.generate.unconditional_per_row * train)
        if getattr(options, "joint", False):
            count += round(settings.generate.joint_per_row * train)
        made += count
        training += getattr(options, "images", 0) / module.TRAINING_RATE * scale
        sampling += count / module.SAMPLING_RATE * scale
    cells = (
        len(settings.benchmark.every_arm)
        * len(settings.benchmark.architectures)
        * settings.benchmark.seeds
    )
    benchmark = settings.benchmark.training.decided(train)
    cell_seconds = sum(
        training_seconds(name, benchmark) for name in settings.benchmark.architectures
    ) / len(settings.benchmark.architectures)
    labeller = settings.segment.training.decided(train)
    trainings = settings.segment.members + settings.segment.noise_folds
    looks = settings.segment.members * (4 if settings.label.flips else 1)
    methods = settings.scorers.get("embedding", {}).get("methods", ["tsne", "umap"])
    score_seconds = (real + made) / _TSNE_RATE + (_UMAP_COMPILE_S if "umap" in methods else 0)
    lines: dict[str, tuple[int, str, float | None]] = {
        "build": (real, f"{real} candidate patches", 2 * real / _CUT_RATE),
        "segment": (
            train,
            f"{f'{trainings} trainings of ' if trainings > 1 else ''}"
            f"{labeller.images:,} crops of {labeller.crop_size} px",
            trainings * training_seconds(settings.segment.architecture, labeller)
            if _rate_known(settings, settings.segment.preset, [settings.segment.architecture])
            else None,
        ),
        "generate": (
            made,
            f"{', '.join(sorted(settings.generators))}; {made} samples of {size} px",
            training + sampling,
        ),
        "label": (
            made,
            f"{made} samples{f', {looks} looks at each' if looks > 1 else ''}",
            made * looks / _LABEL_RATE,
        ),
        "caption": _caption_line(pipeline, real + made),
        "score": (real + made, f"{', '.join(settings.score.scorers)}", score_seconds),
        "curate": (made, f"{len(settings.curate.rules)} rules", 1.0),
        "benchmark": (
            real + made,
            f"{cells} cells of {benchmark.images:,} crops of {benchmark.crop_size} px",
            cells * cell_seconds + _BENCHMARK_FIXED_S
            if _rate_known(settings, settings.benchmark.preset, settings.benchmark.architectures)
            else None,
        ),
        CAPTION_BENCHMARK: _caption_benchmark_line(settings, real + made),
        "report": (0, "one page", 15.0),
    }
    past = stage_seconds(pipeline.context.project)
    errors = stage_errors(pipeline.context.project)
    found = []
    for stage in STAGES:
        rows, work, seconds = lines[stage.name]
        state = pipeline.state(stage)
        remaining = 0.0 if state == "done" else past.get(stage.name, seconds)
        if state != "done" and stage.name in errors:
            state, work = "failed", errors[stage.name]
        found.append(StageEstimate(stage.name, state, rows, work, remaining))
        if stage.name == until:
            break
    return found


def _caption_line(pipeline: Pipeline, rows: int) -> tuple[int, str, float | None]:
    """Time is known for writers that state a rate; how fast a model is, nobody knows before."""
    captioner = pipeline.context.settings.caption.captioner
    rate = getattr(families.member("captioners", captioner), "CAPTION_RATE", None)
    work = f"{rows} samples by {captioner}"
    repairs = pipeline.context.path("caption", "repairs.json")
    failed = sum(f["failed"] for f in read_json(repairs).values()) if repairs.exists() else 0
    if failed:
        work += f"; {failed} captions could not be had (--retry-failed)"
    return rows, work, None if rate is None else rows / rate


def _caption_benchmark_line(settings: Settings, rows: int) -> tuple[int, str, float | None]:
    """Time is known for the small network alone."""
    own = settings.caption_benchmark
    if not own.is_on:
        return 0, "off: [caption_benchmark] names no arms", 0.0
    cells = len(own.arms) * own.seeds
    training = own.training
    work = f"{cells} captioners, {training.images:,} images of {training.image_size} px each"
    if own.model != SMALL:
        return rows, f"{work}, from {own.model}", None
    scale = (training.image_size / _REFERENCE_SIDE) ** 2
    return rows, work, cells * training.images / TRAINING_RATE * scale + _BENCHMARK_FIXED_S


def _row_counts(pipeline: Pipeline) -> tuple[int, int]:
    """Train rows and all real rows: counted where built, else bounded from the scenes' sizes."""
    settings = pipeline.context.settings
    built = pipeline.context.path("build", "samples")
    if (built / MANIFEST).exists():
        splits = Table.open(built).read(["split"])["split"].to_pylist()
        return splits.count("train"), len(splits)
    total = _candidates(pipeline)
    kept = (1 - settings.split.test_share) * (1 - settings.split.val_share)
    return round(total * kept), total


def _candidates(pipeline: Pipeline) -> int:
    """Patches that fit into the scenes, as far as their sizes are known."""
    cut = pipeline.context.settings.cut
    return sum(
        len(window_grid(height, width, cut.patch_size, cut.stride or cut.patch_size, cut.edge))
        for height, width in pipeline.context.source.extents()
    )


def _rate_known(settings: Settings, preset: str, architectures: Sequence[str]) -> bool:
    """Rates are stated for the encoder of the small preset; of others nobody knows one."""
    return preset == "small" and not any(
        "encoder" in settings.options("segmenters", name) for name in architectures
    )


def training_seconds(architecture: str, training: TrainingSettings) -> float:
    """Of one training of a segmenter on two CPU cores, from its stated rate."""
    module = families.member("segmenters", architecture)
    rate: float = module.TRAINING_RATE
    return training.images / rate * (training.crop_size / _REFERENCE_SIDE) ** 2
