"""The models of one scope: its labeller and its generators, each trained once for all rounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from terraloom.calibration import calibrate, calibrate_together
from terraloom.demand.folds import Scope
from terraloom.ensemble import Ensemble
from terraloom.files import make_folder, sha256_of, sha256_of_value
from terraloom.generating import TrainedGenerator, train_generator
from terraloom.pipeline import Pipeline
from terraloom.seeds import derive_seed
from terraloom.segmenting import (
    CALIBRATION,
    Recipe,
    TrainedSegmenter,
    load_segmenter,
    train_segmenter,
)
from terraloom.settings import Settings
from terraloom.stages import Context, labeller_names, stage_named

_MODELS = "models"


@dataclass(frozen=True)
class Chain:
    """What makes and labels the samples of one scope."""

    labeller: Ensemble
    labeller_sha256: str
    generators: Mapping[str, TrainedGenerator]

    @property
    def features(self) -> TrainedSegmenter:
        """The labeller that scores are measured with."""
        return self.labeller.members[0]


def whole_chain(pipeline: Pipeline, scope: Scope) -> Chain:
    """Labeller of the stage segment; generators of the stage generate where that is done."""
    context = pipeline.context
    settings = context.settings
    paths = [context.path("segment", name) for name in labeller_names(settings)]
    members = tuple(load_segmenter(path, context.fabric) for path in paths)
    make_folder(scope.folder)
    labeller = calibrate_together(
        Ensemble(members, settings.label.flips),
        scope.val,
        scope.folder,
        derive_seed(context.seed, "calibration"),
    )
    own = scope.folder / _MODELS
    done = pipeline.state(stage_named("generate")) == "done"
    folder = context.path("generate", _MODELS) if done and not own.exists() else own
    files = [path / name for path in paths for name in ("weights.safetensors", CALIBRATION)]
    if labeller.looks > 1:
        files.append(scope.folder / CALIBRATION)
    return Chain(
        labeller,
        sha256_of_value([sha256_of(path) for path in files if path.exists()]),
        _generators(context, scope, folder, members[0], context.seed),
    )


def fold_chain(context: Context, scope: Scope) -> Chain:
    """A labeller and generators that never saw the fold; one labeller, whatever the project has."""
    settings = context.settings
    seed = derive_seed(context.seed, "demand", scope.name)
    folder = scope.folder / "labeller"
    trained = train_segmenter(
        scope.train,
        scope.val,
        labeller_recipe(settings, len(context.classes)),
        folder,
        seed=derive_seed(seed, "labeller"),
        fabric=context.fabric,
        description=f"{scope.name}, labeller",
        devices=settings.project.devices,
    )
    if not (folder / CALIBRATION).exists():
        calibrate(trained, scope.val, folder, derive_seed(seed, "calibration"))
    labeller = load_segmenter(folder, context.fabric)
    files = [folder / name for name in ("weights.safetensors", CALIBRATION)]
    return Chain(
        Ensemble((labeller,), settings.label.flips),
        sha256_of_value([sha256_of(path) for path in files]),
        _generators(context, scope, scope.folder / _MODELS, labeller, seed),
    )


def labeller_recipe(settings: Settings, num_classes: int) -> Recipe:
    """Of the stage segment."""
    return Recipe(
        settings.segment.architecture,
        settings.options("segmenters", settings.segment.architecture),
        settings.segment.preset,
        num_classes,
        settings.segment.training,
    )


def _generators(
    context: Context, scope: Scope, folder: Path, labeller: TrainedSegmenter, seed: int
) -> dict[str, TrainedGenerator]:
    settings = context.settings
    return {
        name: train_generator(
            name,
            settings.options("generators", name),
            scope.train,
            scope.val,
            folder / name,
            classes=context.classes,
            size=settings.generate.size,
            labeller=labeller,
            seed=derive_seed(seed, "generator", name),
            fabric=context.fabric,
        )
        for name in sorted(settings.generators)
    }
